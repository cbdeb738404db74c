"""Via: which gateways a message passed (RFC 9110 section 7.6.3). Runs in: worker."""

from libc.stddef cimport size_t

from fastgate.dataplane.http.message cimport Head

cdef bint passed_through(const Head *h, const char *name, size_t n) noexcept nogil
