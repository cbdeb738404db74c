"""Header fields: which names have a rule, and which fields are not passed on.

Runs in: worker.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from fastgate.dataplane.http.message cimport Field, Head, HeaderId

cdef HeaderId header_id(const char *name, size_t n) noexcept nogil
cdef bint same_name(const char *a, const char *b, size_t n) noexcept nogil
cdef bint value_is(const Field *f, const char *lower, size_t n) noexcept nogil
cdef const char *token_end(const char *at, const char *end) noexcept nogil
cdef uint64_t sort_fields(Head *h, bint response, int underscores) noexcept nogil
cdef void drop_listed(Head *h, const char *token, size_t n) noexcept nogil
