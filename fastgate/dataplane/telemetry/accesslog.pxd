"""The access log: one line a request, formatted and buffered without Python.

Runs in: worker. A full buffer goes to the writer at once, otherwise a timer sends it.
A log that cannot take a write loses lines and counts them; it never blocks.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.telemetry.clock cimport Clock
from fastgate.dataplane.telemetry.logwriter cimport LogWriter

cdef enum:
    MAX_LINE_BYTES = 8192       # longer values are cut, in either format
    MIN_LOG_BYTES = 16384       # of buffer: one line to finish, and one more

cdef enum LogFormat:
    LOG_OFF = 0
    LOG_COMBINED = 1
    LOG_JSON = 2
    LOG_COMBINED_PLUS = 3

cdef struct LogRecord:
    Text remote_addr
    Text remote_user            # of Authorization: Basic; empty: none
    Text request_line           # as received; empty: none was read
    Text referer                # at NULL: the header was not sent
    Text user_agent
    Text host
    Text request_id
    Text route
    Text other_route            # of another reading of the path, where that matters
    Text upstream
    Text endpoint
    Text reason                 # fault_info(fault).reason
    int status                  # 0: none was sent
    bint is_ambiguous           # other_route is worth a member, if only null
    int retries
    int time_ms                 # of the second that the clock shows
    int64_t bytes_in            # of the request's body
    int64_t bytes_out           # of the response's body, as nginx counts it
    int64_t total_us
    int64_t upstream_us         # to the response head; -1: none

cdef struct Log:
    int format                  # a LogFormat
    size_t used
    size_t size
    char *data                  # [size], owned
    LogWriter *writer           # owned; NULL: off, or closed
    int64_t dropped             # lines lost, once it is closed

cdef int log_open(
    Log *log, int fd, int format, size_t size, size_t queue_bytes
) except -1
cdef void log_close(Log *log, int within_ms) noexcept nogil
cdef void log_reopen(Log *log, int fd) noexcept nogil
cdef void log_line(
    Log *log, const Clock *clock, const LogRecord *record
) noexcept nogil
cdef void log_flush(Log *log) noexcept nogil
cdef int64_t log_dropped(Log *log, int *error, bint *settled) noexcept nogil
