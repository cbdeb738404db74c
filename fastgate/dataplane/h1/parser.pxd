"""HTTP/1.x from bytes to a Head: llhttp, our own strictness, canonical forms.

Runs in: worker. What it reads into stands in message.pxd.
"""

from libc.stddef cimport size_t

from fastgate.dataplane.http.message cimport Head, HeadLimits, Parser

cdef void parser_init(Parser *p, bint response, bint lenient) noexcept nogil
cdef bint is_blank_head(const char *buf, size_t n) noexcept nogil
cdef int parse_head(
    Parser *p, Head *h, const HeadLimits *limits,
    const char *buf, size_t n, size_t already, size_t *consumed
) noexcept nogil
