"""One canonical form of a host, and the primary reading of a path.

Runs in: worker. Routing, the balancing key and the log use these forms, so that no
two of them can read one request differently (RFC 3986 section 6.2.2). A path is
forwarded as it came; what else it may be read as is for readings.pyx to judge.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

cdef enum:
    MAX_HOST_BYTES = 255        # of the host alone, RFC 1035 section 2.3.4
    HOST_ROOM = 272             # what canonical_host may write: host, ":", port

cdef struct HostForm:           # spans borrowed from the text or from `out`
    const char *host            # lower case, no port, no trailing dot, [v6]
    const char *authority       # the host, and ":port" if one was given
    size_t host_len
    size_t authority_len
    int port                    # 0: none was given

cdef enum Odd:                  # what of a path is read in more than one way
    ODD_SLASHES = 1 << 0            # `//`
    ODD_DOTS = 1 << 1               # `.` or `..` where some reader ends a segment
    ODD_SEMICOLON = 1 << 2
    ODD_BACKSLASH = 1 << 3
    ODD_ESCAPED_DOT = 1 << 4        # %2E
    ODD_ESCAPED_SLASH = 1 << 5      # %2F
    ODD_ESCAPED_PERCENT = 1 << 6    # %25
    ODD_ESCAPED_SEMICOLON = 1 << 7  # %3B
    ODD_ESCAPED_BACKSLASH = 1 << 8  # %5C
    ODD_BY_NAME = (1 << 9) - 1      # what `ambiguous_paths = "reject"` refuses
    ODD_UNRESERVED = 1 << 9         # another needless escape: %61, %7E
    ODD_RESERVED = 1 << 10          # an escaped delimiter: %40, %2B

cdef struct TargetForm:         # spans borrowed from the target or from `out`
    const char *path            # the primary reading, starts with "/"
    const char *query           # raw, with its "?"; empty: at the target's end
    size_t path_len
    size_t query_len
    size_t raw_len              # of the path as received
    uint32_t odd                # Odd bits; 0: every reader reads the same

cdef int canonical_host(
    const char *at, size_t n, char *out, HostForm *form
) noexcept nogil
cdef int canonical_target(
    const char *at, size_t n, char *out, size_t room, TargetForm *form
) noexcept nogil
cdef bint is_overlong(int byte, int after) noexcept nogil
