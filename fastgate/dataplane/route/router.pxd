"""Host and path to route: a compiled table.

Runs in: worker. Precedence, the first that holds: exact host, longest wildcard
host, any host; within a host: exact path, longest prefix; within one path: the
order of the file, first route whose conditions all hold.
"""

cimport cython
from libc.stdint cimport uint32_t

cdef enum:
    NO_ROUTE = -1

cdef struct RouteQuery:         # borrowed for the call
    const char *host            # lower case, no port, no trailing dot; may be empty
    const char *path            # a reading, spelled as in routes; "/..." or "*"
    uint32_t host_len
    uint32_t path_len

cdef struct Table               # opaque: router.pyx

cdef int route(const Table *t, const RouteQuery *q) noexcept nogil


@cython.final
cdef class Router:
    """Owns the table; built from (host, kind, path, route_index) rows."""

    cdef Table *table
