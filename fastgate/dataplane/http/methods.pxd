"""Methods: those of HTTP and WebDAV, and which of them may be sent twice.

Runs in: every process. A method is known by the number that llhttp gives it, whatever
protocol it came by; others have no number, only their name.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

cdef enum:
    MAX_METHOD_BYTES = 32   # of a method we do not know, to call it one

cdef enum:                  # llhttp's numbers of methods that are a case of their own
    METHOD_CONNECT = 5
    METHOD_OPTIONS = 6
    METHOD_TRACE = 7
    METHOD_PRI = 34

cdef struct Method:
    const char *name        # NULL: llhttp knows it from another protocol
    uint8_t len
    uint8_t idempotent      # RFC 9110 section 9.2.2

cdef const Method *http_method(int number) noexcept nogil
cdef int method_number(const char *name, size_t n) noexcept nogil
