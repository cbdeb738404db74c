"""Who a client is, as far as its socket says. Runs in: worker."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from fastgate.dataplane.base.address cimport is_trusted, put_ipv4, put_ipv6
from fastgate.dataplane.base.system cimport (
    AF_INET, AF_INET6, AF_UNIX, sockaddr_in, sockaddr_in6,
)


cdef void peer_name(
    Worker *w, Downstream *d, const sockaddr_storage *peer
) noexcept nogil:
    """The peer's address as text, and whether it is a trusted proxy."""
    cdef uint8_t address[16]
    d.peer_is_v6 = 0
    d.peer_trusted = 0
    if peer.ss_family == AF_INET:
        memset(address, 0, 10)
        memset(address + 10, 0xFF, 2)
        memcpy(address + 12, &(<const sockaddr_in *>peer).sin_addr, 4)
        d.peer_len = <uint8_t>(put_ipv4(d.peer, address + 12) - d.peer)
    elif peer.ss_family == AF_INET6:
        memcpy(address, &(<const sockaddr_in6 *>peer).sin6_addr, 16)
        d.peer_len = <uint8_t>(put_ipv6(d.peer, address) - d.peer)
        d.peer_is_v6 = 1
    else:
        # No address (RFC 7239 section 6): the word that nginx's logs have for it.
        memcpy(d.peer, b"unix:", 5)
        d.peer_len = 5
        d.peer_trusted = peer.ss_family == AF_UNIX and w.gateway.trusts_unix
        return
    if w.gateway.n_trusted_proxies:
        d.peer_trusted = is_trusted(
            w.gateway.trusted_proxies, w.gateway.n_trusted_proxies, address
        )
