"""The settings of the access log, into their struct. Runs in: master."""

from fastgate.dataplane.plan.table cimport fill, row
from fastgate.dataplane.telemetry.accesslog cimport (
    LOG_COMBINED, LOG_COMBINED_PLUS, LOG_JSON, LOG_OFF,
)

cdef dict FORMATS = {
    "combined": LOG_COMBINED, "combined-plus": LOG_COMBINED_PLUS, "json": LOG_JSON,
}

cdef LogPlan at                 # of nobody: the rows take their offsets from it

cdef list TABLE = [
    row("access_log_buffer", &at, &at.access_log_buffer_bytes),
    row("access_log_format", &at, &at.access_log_format).one_of(FORMATS),
]


cdef int fill_log(LogPlan *l, dict values) except -1:
    """Raises KeyError or ValueError, as `fill` does."""
    fill(l, values, TABLE)
    if values["access_log"] == "off":
        l.access_log_format = LOG_OFF
    return 0
