"""What a worker tells the error log of traffic: noted here, written by Python.

Runs in: worker. Of each (kind, endpoint, listener, route, fault) the first few are
noted at once, then one each RATE_MS with the number of those that were held back. What
nobody has room for is counted. Nothing here is on the way of a request that goes well.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t

cdef enum:
    LINE_BYTES = 256            # of a request line, as much as is kept
    RING_INCIDENTS = 64         # between two visits of Python, four a second
    METERS = 256                # what is rate-limited at a time
    BURST_INCIDENTS = 3         # of one meter, before it holds back
    RATE_MS = 10000             # then one in this time

cdef enum IncidentKind:
    INCIDENT_UPSTREAM_FAILED = 0    # an attempt: endpoint, fault, what is known
    INCIDENT_ENDPOINT_EJECTED       # endpoint, and the fault that was the last straw
    INCIDENT_ENDPOINT_BACK          # endpoint: is asked again
    INCIDENT_CONNECTIONS_FULL       # listener: `max_conns` is reached
    INCIDENT_FILES_FULL             # listener: no descriptor for a client; os_error
    INCIDENT_AMBIGUOUS_PATH         # route, and other_route of another reading
    INCIDENT_LOOP                   # route that a request came back to
    INCIDENT_METHOD_REFUSED         # listener, fault
    INCIDENT_KINDS

cdef struct Incident:
    int32_t kind                # an IncidentKind
    int32_t endpoint            # index into the plan; -1: none
    int32_t listener            # index into the plan; -1: none
    int32_t route               # index into the plan; -1: none
    int32_t other_route         # likewise, or a word of readings.pxd
    int32_t fault               # a Fault
    int32_t os_error            # errno; 0: none
    uint32_t rule_at            # offset of the byte that broke the rule
    const char *rule            # static text; NULL: none
    const char *line            # the request line, borrowed; NULL: none
    uint32_t line_len

cdef struct Noted:
    Incident what               # its `line` is not used
    int64_t held                # others like it, held back before it
    char line[LINE_BYTES]

cdef struct Meter:              # of one (kind, endpoint, listener, route, fault)
    Noted last                  # `held`: how many are held back, this one the last
    int64_t full_ms             # when its burst is whole again; 0: unused

cdef struct Incidents:
    uint32_t first              # of those in `ring`
    uint32_t count
    int64_t lost                # no room for them: neither noted nor held back
    int32_t holding             # meters that hold something back
    Noted ring[RING_INCIDENTS]
    Meter meters[METERS]

cdef inline Incident incident(int kind) noexcept nogil:
    """A blank one, to be filled in by whoever saw it."""
    cdef Incident what
    what.kind = kind
    what.endpoint = -1
    what.listener = -1
    what.route = -1
    what.other_route = -1
    what.fault = 0
    what.os_error = 0
    what.rule_at = 0
    what.rule = NULL
    what.line = NULL
    what.line_len = 0
    return what

cdef Incidents *incidents_make() except NULL
cdef void incident_note(
    Incidents *all, int64_t now_ms, const Incident *what
) noexcept nogil
cdef void incidents_release(
    Incidents *all, int64_t now_ms, bint leaving
) noexcept nogil
cdef bint incident_take(Incidents *all, Noted *out) noexcept nogil
