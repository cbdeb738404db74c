"""The texts of the second: what the access log and the Date header say of the time.

Runs in: worker. One clock a worker, set once a second, so that no request formats one.
"""

from libc.stdint cimport int64_t

cdef struct Clock:
    int64_t second              # since 1970, as the texts say it; -1: they say nothing
    char local_time[32]         # 24/Nov/2026:03:02:59 +0000
    char iso_time[32]           # 2026-11-24T03:02:59+00:00
    char http_date[32]          # Tue, 24 Nov 2026 03:02:59 GMT

cdef void clock_start(Clock *c) noexcept nogil
cdef void clock_tick(Clock *c, int64_t wall_s) noexcept nogil
