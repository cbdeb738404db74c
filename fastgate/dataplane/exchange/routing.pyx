"""A request to its route, what its listener refuses, and the words of a refusal.

Runs in: worker.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

from fastgate.dataplane.base.faults cimport (
    FAULT_AMBIGUOUS_PATH, FAULT_METHOD_REFUSED, FAULT_METHOD_TRACE,
    FAULT_METHOD_UNKNOWN, FAULT_NO_ROUTE, FAULT_NONE,
)
from fastgate.dataplane.base.text cimport Text, put
from fastgate.dataplane.http.methods cimport METHOD_TRACE
from fastgate.dataplane.plan.listener cimport ListenerPlan
from fastgate.dataplane.route.readings cimport (
    PATHS_REJECT, TOO_MANY_READINGS, judge_path,
)
from fastgate.dataplane.route.router cimport RouteQuery, route
from fastgate.dataplane.telemetry.incidents cimport (
    INCIDENT_AMBIGUOUS_PATH, INCIDENT_METHOD_REFUSED, Incident, incident,
    incident_note,
)


# --- methods that a listener refuses --------------------------------------------


cdef int refuse_method(
    Worker *w, const Exchange *x, int fault, const char *line, uint32_t line_len
) noexcept nogil:
    """`fault`, once the error log is told; line[:line_len] holds no control byte."""
    cdef Incident what = incident(INCIDENT_METHOD_REFUSED)
    what.fault = fault
    what.listener = x.client.listener
    what.line = line
    what.line_len = line_len
    incident_note(w.incidents, w.now_ms, &what)
    return fault


cdef int judge_unknown_method(
    Worker *w, const Exchange *x, const Head *h
) noexcept nogil:
    """FAULT_METHOD_REFUSED where the listener names what the parser does not know.

    h  of a head with FAULT_METHOD_UNKNOWN, which is the answer otherwise
    """
    cdef const ListenerPlan *listener = &w.listeners[x.client.listener]
    cdef const Text *name
    cdef int i
    for i in range(listener.n_refused_names):
        name = &listener.refused_names[i]
        if name.len == h.method_len and memcmp(name.at, h.method_name, name.len) == 0:
            return refuse_method(
                w, x, FAULT_METHOD_REFUSED, h.method_name, h.method_len
            )
    return FAULT_METHOD_UNKNOWN


# --- routes ---------------------------------------------------------------------


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

    Otherwise the fault of a method that the listener refuses, FAULT_NO_ROUTE, or
    what judge_path says, with x.other_route set.
    """
    cdef RouteQuery query
    cdef int fault
    if w.listeners[x.client.listener].refused_methods >> h.method & 1:
        fault = FAULT_METHOD_REFUSED
        if h.method == METHOD_TRACE and not w.gateway.trace:
            fault = FAULT_METHOD_TRACE
        return refuse_method(w, x, fault, h.line, h.line_len)
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
