"""The access log and its clock, opened to pytest. Runs in: tests only."""

from libc.stdint cimport int64_t, uint32_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.telemetry.accesslog cimport (
    LOG_COMBINED,
    LOG_COMBINED_PLUS,
    LOG_JSON,
    LOG_OFF,
    Log,
    LogRecord,
    log_close,
    log_dropped,
    log_flush,
    log_line,
    log_open,
    log_reopen,
)
from fastgate.dataplane.telemetry.clock cimport Clock, clock_start, clock_tick
from fastgate.dataplane.telemetry.logwriter cimport writer_wait


cdef int64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef class ClockProbe:
    """A clock in the time zone that the environment names."""

    cdef Clock clock

    def __init__(self):
        clock_start(&self.clock)

    def tick(self, int64_t wall_s):
        """Set it; returns its three texts."""
        clock_tick(&self.clock, wall_s)
        return self.clock.local_time, self.clock.iso_time, self.clock.http_date


cdef class LogProbe:
    """A log on a descriptor, which it owns, and the record it is given."""

    cdef Log log
    cdef Clock clock
    cdef LogRecord record
    cdef list kept

    def __init__(
        self, int fd, form="combined", size_t size=16384, size_t queue_bytes=0
    ):
        forms = {"off": LOG_OFF, "combined": LOG_COMBINED, "json": LOG_JSON}
        forms["combined-plus"] = LOG_COMBINED_PLUS
        log_open(&self.log, fd, forms[form], size, queue_bytes)
        clock_start(&self.clock)
        clock_tick(&self.clock, 0)

    def __dealloc__(self):
        log_close(&self.log, 0)

    cdef Text text(self, dict values, str key):
        cdef Text text
        cdef bytes value = values.pop(key, None)
        text.at = NULL
        text.len = 0
        if value is not None:
            self.kept.append(value)
            text.at = value
            text.len = <uint32_t>len(value)
        return text

    def line(self, **values):
        """Append one line."""
        self.kept = []
        self.record.remote_addr = self.text(values, "remote_addr")
        self.record.remote_user = self.text(values, "remote_user")
        self.record.request_line = self.text(values, "request_line")
        self.record.referer = self.text(values, "referer")
        self.record.user_agent = self.text(values, "user_agent")
        self.record.host = self.text(values, "host")
        self.record.request_id = self.text(values, "request_id")
        self.record.route = self.text(values, "route")
        self.record.upstream = self.text(values, "upstream")
        self.record.endpoint = self.text(values, "endpoint")
        self.record.reason = self.text(values, "reason")
        self.record.status = values.pop("status", 200)
        self.record.time_ms = values.pop("time_ms", 0)
        self.record.retries = values.pop("retries", 0)
        self.record.bytes_in = values.pop("bytes_in", 0)
        self.record.bytes_out = values.pop("bytes_out", 0)
        self.record.total_us = values.pop("total_us", 0)
        self.record.upstream_us = values.pop("upstream_us", -1)
        if values:
            raise TypeError(f"unknown: {sorted(values)}")
        log_line(&self.log, &self.clock, &self.record)

    def time_ns(self, int rounds):
        """Nanoseconds of the last line again, writes to the file included."""
        cdef int64_t began
        cdef int _round
        with nogil:
            began = now_ns()
            for _round in range(rounds):
                log_line(&self.log, &self.clock, &self.record)
            began = now_ns() - began
        return began / rounds

    def tick(self, int64_t wall_s):
        """Set the clock."""
        clock_tick(&self.clock, wall_s)

    def flush(self):
        """Write the buffer out, and wait a moment until it is."""
        log_flush(&self.log)
        self.wait()

    def wait(self):
        """Wait a moment until what was handed over is written."""
        if self.log.writer is not NULL:
            with nogil:
                writer_wait(self.log.writer, 100)

    def reopen(self, int fd):
        """Go on in another file."""
        log_reopen(&self.log, fd)

    def close(self):
        """Write out, close, free."""
        with nogil:
            log_close(&self.log, 1000)

    @property
    def dropped(self):
        """Lines lost."""
        cdef int error
        cdef bint settled
        return log_dropped(&self.log, &error, &settled)

    @property
    def used(self):
        """Bytes in the buffer."""
        return self.log.used
