"""Who a client is, as far as its socket says. Runs in: worker."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from fastgate.dataplane.base.address cimport is_trusted, put_ipv4, put_ipv6
from fastgate.dataplane.base.system cimport (
    AF_INET, AF_INET6, AF_UNIX, sockaddr_in, sockaddr_in6,
)


cdef void peer_name(
    Worker *w, Peer *p, const sockaddr_storage *socket_address
) noexcept nogil:
    """Fill `p` in: the address as text, and whether it is a trusted proxy."""
    cdef uint8_t address[16]
    p.is_v6 = 0
    p.trusted = 0
    if socket_address.ss_family == AF_INET:
        memset(address, 0, 10)
        memset(address + 10, 0xFF, 2)
        memcpy(address + 12, &(<const sockaddr_in *>socket_address).sin_addr, 4)
        p.len = <uint8_t>(put_ipv4(p.text, address + 12) - p.text)
    elif socket_address.ss_family == AF_INET6:
        memcpy(address, &(<const sockaddr_in6 *>socket_address).sin6_addr, 16)
        p.len = <uint8_t>(put_ipv6(p.text, address) - p.text)
        p.is_v6 = 1
    else:
        # No address (RFC 7239 section 6): the word that nginx's logs have for it.
        memcpy(p.text, b"unix:", 5)
        p.len = 5
        p.trusted = socket_address.ss_family == AF_UNIX and w.gateway.trusts_unix
        return
    if w.gateway.n_trusted_proxies:
        p.trusted = is_trusted(
            w.gateway.trusted_proxies, w.gateway.n_trusted_proxies, address
        )
