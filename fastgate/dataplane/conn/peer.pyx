"""Who a client is, as far as its socket says. Runs in: worker."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from fastgate.dataplane.base.limits cimport is_trusted
from fastgate.dataplane.base.system cimport (
    AF_INET, AF_INET6, AF_UNIX, inet_ntop, sockaddr_in, sockaddr_in6,
)
from fastgate.dataplane.conn.conn cimport PEER_TEXT


cdef void peer_name(
    Worker *w, Downstream *d, const sockaddr_storage *peer
) noexcept nogil:
    """The peer's address as text, and whether it is a trusted proxy."""
    cdef uint8_t address[16]
    cdef const uint8_t *v4
    cdef int at = 0
    cdef int i
    d.peer_is_v6 = 0
    d.peer_trusted = 0
    memset(address, 0, 16)
    if peer.ss_family == AF_INET:
        v4 = <const uint8_t *>&(<const sockaddr_in *>peer).sin_addr
        for i in range(4):
            if i:
                d.peer[at] = b"."
                at += 1
            if v4[i] >= 100:
                d.peer[at] = <char>(48 + v4[i] // 100)
                at += 1
            if v4[i] >= 10:
                d.peer[at] = <char>(48 + v4[i] // 10 % 10)
                at += 1
            d.peer[at] = <char>(48 + v4[i] % 10)
            at += 1
        d.peer_len = <uint8_t>at
        address[10] = 0xFF
        address[11] = 0xFF
        memcpy(address + 12, v4, 4)
    elif peer.ss_family == AF_INET6:
        memcpy(address, &(<const sockaddr_in6 *>peer).sin6_addr, 16)
        inet_ntop(AF_INET6, address, d.peer, PEER_TEXT)
        while at < PEER_TEXT and d.peer[at]:
            at += 1
        d.peer_len = <uint8_t>at
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
