"""Methods: those of HTTP and WebDAV, and which of them may be sent twice.

Runs in: every process. The table is filled at import.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memset

cdef enum:
    N_METHODS = 47

cdef Method METHODS[N_METHODS]

KNOWN_METHODS = (
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND"
    b" PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT"
    b" MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK"
    b" UNLINK"
).split()
# Safe, or replacing a whole resource: sent twice, they do what once would have. Of
# the IANA registry's list we leave out those whose repetition answers otherwise.
IDEMPOTENT = (
    b"DELETE GET HEAD PUT OPTIONS TRACE PROPFIND SEARCH REPORT QUERY"
).split()
QUERY = b"QUERY"
QUERY_NUMBER = 46


cdef void add_method(int number, bytes name) except *:
    METHODS[number].name = name     # kept alive by the tuples above
    METHODS[number].len = <uint8_t>len(name)
    METHODS[number].idempotent = name in IDEMPOTENT


def fill_methods() -> None:
    memset(METHODS, 0, sizeof(METHODS))
    for number, name in enumerate(KNOWN_METHODS):
        add_method(number, name)
    add_method(QUERY_NUMBER, QUERY)


fill_methods()


cdef const Method *http_method(int number) noexcept nogil:
    """The method of HTTP or WebDAV that has llhttp's `number`, or NULL."""
    if 0 <= number < N_METHODS and METHODS[number].name is not NULL:
        return &METHODS[number]
    return NULL


cdef int method_number(const char *name, size_t n) noexcept nogil:
    """llhttp's number of a method of HTTP or WebDAV, or -1."""
    cdef int i
    for i in range(N_METHODS):
        if (
            METHODS[i].name is not NULL
            and METHODS[i].len == n
            and memcmp(METHODS[i].name, name, n) == 0
        ):
            return i
    return -1
