"""How the access log is written. Runs in: every process (made by the master)."""

from libc.stddef cimport size_t

cdef struct LogPlan:
    int access_log_format       # an accesslog.LogFormat
    size_t access_log_buffer_bytes

cdef int fill_log(LogPlan *l, dict values) except -1
