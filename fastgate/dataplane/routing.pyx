"""A request to its route, and the words of a refusal there. Runs in: worker."""

from libc.string cimport memcpy, strlen

from fastgate.dataplane.accesslog cimport Text
from fastgate.dataplane.faults cimport (
    FAULT_AMBIGUOUS_PATH, FAULT_NO_ROUTE, FAULT_NONE,
)
from fastgate.dataplane.incidents cimport (
    INCIDENT_AMBIGUOUS_PATH, Incident, incident, incident_note,
)
from fastgate.dataplane.readings cimport (
    PATHS_REJECT, TOO_MANY_READINGS, judge_path,
)
from fastgate.dataplane.router cimport RouteQuery, route


cdef inline int ambiguous_paths(const Worker *w, const Exchange *x) noexcept nogil:
    """The setting of the route, or the gateway's where there is none."""
    if x.route >= 0:
        return w.routes[x.route].ambiguous_paths
    return w.gateway.ambiguous_paths


cdef void note_refused(
    Worker *w, const Exchange *x, const Head *h, int kind, int fault
) noexcept nogil:
    """Tell the error log, which has the names of the routes in every format."""
    cdef Incident what = incident(kind)
    what.fault = fault
    what.route = x.route
    what.other_route = x.other_route
    what.line = h.line
    what.line_len = h.line_len
    incident_note(w.incidents, w.now_ms, &what)


cdef int find_route(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """Set x.route by the primary reading; FAULT_NONE if the request may take it.

    Otherwise FAULT_NO_ROUTE or what judge_path says, with x.other_route set.
    """
    cdef RouteQuery query
    cdef int fault
    query.host = h.host
    query.host_len = h.host_len
    query.path = h.path
    query.path_len = h.path_len
    x.route = x.other_route = route(w.router, &query)
    if h.odd:
        fault = judge_path(
            w.router, &query, x.route, h.odd, h.raw_path, h.raw_path_len,
            ambiguous_paths(w, x), &x.other_route,
        )
        if fault == FAULT_AMBIGUOUS_PATH:
            note_refused(w, x, h, INCIDENT_AMBIGUOUS_PATH, fault)
        if fault != FAULT_NONE:
            return fault
    return FAULT_NONE if x.route >= 0 else FAULT_NO_ROUTE


cdef char *put(char *at, const char *text) noexcept nogil:
    cdef size_t n = strlen(text)
    memcpy(at, text, n)
    return at + n


cdef char *put_route(char *at, const Worker *w, int index) noexcept nogil:
    """`route "NAME"`, or `no route`; a name is 64 bytes at most."""
    cdef const Text *name
    if index < 0:
        return put(at, "no route")
    name = &w.routes[index].name
    at = put(at, 'route "')
    memcpy(at, name.at, name.len)
    return put(at + name.len, '"')


cdef void put_refusal(Worker *w, const Exchange *x, char *out) noexcept nogil:
    """The text of FAULT_AMBIGUOUS_PATH: what differs, and which setting says so.

    out  REFUSAL_BYTES; NUL-terminated afterwards
    """
    cdef bint rejects = ambiguous_paths(w, x) == PATHS_REJECT
    cdef char *at = put(out, "ambiguous path: ")
    if x.other_route == TOO_MANY_READINGS:
        at = put(at, "too many ways to read it")
    elif x.other_route == x.route:
        at = put(at, "it can be read in several ways")
    else:
        at = put(at, "one way to read it takes ")
        at = put_route(at, w, x.route)
        at = put(at, ", another ")
        at = put_route(at, w, x.other_route)
    at = put(at, " (ambiguous_paths = \"")
    at = put(at, "reject" if rejects else "routes")
    at = put(at, '")')
    at[0] = 0
