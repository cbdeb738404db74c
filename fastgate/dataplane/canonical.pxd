"""One canonical form of a host and of a path.

Runs in: worker. Routing, policy, cache, log and forwarding all use these forms, so
that no two of them can read one request differently (RFC 3986 section 6.2.2).
"""

from libc.stddef cimport size_t

cdef enum:
    MAX_HOST_BYTES = 255        # of the host alone, RFC 1035 section 2.3.4
    HOST_ROOM = 272             # what canonical_host may write: host, ":", port

cdef struct HostForm:           # spans borrowed from the text or from `out`
    const char *host            # lower case, no port, no trailing dot, [v6]
    const char *authority       # the host, and ":port" if one was given
    size_t host_len
    size_t authority_len
    int port                    # 0: none was given

cdef struct TargetForm:         # spans borrowed from the target or from `out`
    const char *path            # starts with "/"
    const char *query           # raw, with its "?"; empty: at the target's end
    size_t path_len
    size_t query_len

cdef int canonical_host(
    const char *at, size_t n, char *out, HostForm *form
) noexcept nogil
cdef int canonical_target(
    const char *at, size_t n, bint keep_ambiguous,
    char *out, size_t room, TargetForm *form
) noexcept nogil
