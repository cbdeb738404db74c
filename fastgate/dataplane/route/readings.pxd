"""The readings of a path: do all who may read it take it to the same route?

Runs in: worker.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint32_t

from fastgate.dataplane.route.router cimport RouteQuery, Table

cdef enum:
    # The longest path with something odd in it; a plain path knows no such bound.
    MAX_ODD_PATH_BYTES = 8192
    TOO_MANY_READINGS = -2      # in place of a second route, beside NO_ROUTE

cdef enum AmbiguousPaths:       # what is done with a path that has several readings
    PATHS_ROUTES = 0            # forwarded if all of them take the same route
    PATHS_REJECT                # refused
    PATHS_KEEP                  # forwarded by the primary reading

cdef int judge_path(
    const Table *table, const RouteQuery *primary, int chosen, uint32_t odd,
    const char *raw, size_t raw_len, int ambiguous_paths, int32_t *other
) noexcept nogil
