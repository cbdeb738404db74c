"""Chunked bodies: from chunks to one contiguous region, in place.

Runs in: worker.
"""

from libc.stddef cimport size_t

from fastgate.dataplane.http.message cimport Parser

cdef void begin_chunked(Parser *p) noexcept nogil
cdef int read_chunked(
    Parser *p, char *buf, size_t n,
    size_t *consumed, size_t *body_at, size_t *body_len, bint *done
) noexcept nogil
cdef const char *chunk_rule(const Parser *p) noexcept nogil
