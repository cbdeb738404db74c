"""The router and the readings of a path, opened to pytest. Runs in: tests only.

`decide` is what a worker does with a target between parsing and forwarding: the
primary reading, its route, and the judgement over all other readings.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastgate.dataplane.base cimport faults
from fastgate.dataplane.http cimport canonical
from fastgate.dataplane.route cimport readings
from fastgate.dataplane.route.router cimport Router, RouteQuery, route

FAULTS = {
    faults.FAULT_BAD_TARGET: "bad-target",
    faults.FAULT_AMBIGUOUS_PATH: "ambiguous-path",
    faults.FAULT_TARGET_TOO_LONG: "target-too-long",
}
MODES = {
    "routes": readings.PATHS_ROUTES,
    "reject": readings.PATHS_REJECT,
    "keep": readings.PATHS_KEEP,
}
MAX_ODD_PATH_BYTES = readings.MAX_ODD_PATH_BYTES
TOO_MANY_READINGS = readings.TOO_MANY_READINGS


def decide(Router router, bytes target, str mode="routes", bytes host=b""):
    """(fault or None, route, other route); -1 stands for no route."""
    cdef canonical.TargetForm form
    cdef RouteQuery query
    cdef size_t n = len(target)
    cdef size_t room = 3 * n + 16
    cdef char *at = <char *>malloc(n or 1)      # exactly its size: no byte behind it
    cdef char *out = <char *>malloc(room)
    cdef char *raw = NULL
    cdef int32_t other
    cdef int found
    cdef int fault
    cdef int setting = MODES[mode]
    if at is NULL or out is NULL:
        raise MemoryError
    memcpy(at, <const char *>target, n)
    try:
        fault = canonical.canonical_target(at, n, out, room, &form)
        if fault:
            return FAULTS[fault], -1, -1
        query.host = host
        query.host_len = <uint32_t>len(host)
        query.path = form.path
        query.path_len = <uint32_t>form.path_len
        found = other = route(router.table, &query)
        if form.odd:
            raw = <char *>malloc(form.raw_len)
            memcpy(raw, at, form.raw_len)
            fault = readings.judge_path(
                router.table, &query, found, form.odd, raw, form.raw_len, setting,
                &other,
            )
        return FAULTS[fault] if fault else None, found, other
    finally:
        free(at)
        free(out)
        free(raw)


def time_decide_ns(Router router, bytes target, int rounds):
    """Nanoseconds that judging one target takes, its primary reading included."""
    cdef canonical.TargetForm form
    cdef RouteQuery query
    cdef char *out = <char *>malloc(3 * len(target) + 16)
    cdef const char *at = target
    cdef size_t n = len(target)
    cdef timespec start
    cdef timespec end
    cdef int32_t other
    cdef int64_t _i
    query.host = b""
    query.host_len = 0
    with nogil:
        clock_gettime(CLOCK_MONOTONIC, &start)
        for _i in range(rounds):
            canonical.canonical_target(at, n, out, 3 * n + 16, &form)
            query.path = form.path
            query.path_len = <uint32_t>form.path_len
            other = route(router.table, &query)
            if form.odd:
                readings.judge_path(
                    router.table, &query, other, form.odd, at, form.raw_len,
                    readings.PATHS_ROUTES, &other,
                )
        clock_gettime(CLOCK_MONOTONIC, &end)
    free(out)
    return ((end.tv_sec - start.tv_sec) * 1e9 + end.tv_nsec - start.tv_nsec) / rounds


def time_route_ns(Router router, bytes host, bytes path, int rounds):
    """Nanoseconds of one lookup, over so many rounds."""
    cdef RouteQuery query
    cdef timespec start
    cdef timespec end
    cdef int64_t total = 0
    cdef int _round
    query.host = host
    query.host_len = <uint32_t>len(host)
    query.path = path
    query.path_len = <uint32_t>len(path)
    with nogil:
        clock_gettime(CLOCK_MONOTONIC, &start)
        for _round in range(rounds):
            total += route(router.table, &query)
        clock_gettime(CLOCK_MONOTONIC, &end)
    if total < 0:
        raise AssertionError("no route")
    return ((end.tv_sec - start.tv_sec) * 1e9 + end.tv_nsec - start.tv_nsec) / rounds
