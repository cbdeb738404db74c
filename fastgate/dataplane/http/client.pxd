"""Whose request it is: the client behind proxies that are trusted. Runs in: worker."""

from libc.stddef cimport size_t

from fastgate.dataplane.base.address cimport Cidr
from fastgate.dataplane.http.message cimport Head

cdef size_t client_address(
    const Head *h, const Cidr *trusted, int n_trusted,
    const char *peer, size_t peer_len, char *out, size_t room
) noexcept nogil
