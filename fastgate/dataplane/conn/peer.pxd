"""Who a client is, as far as its socket says. Runs in: worker."""

from libc.stdint cimport uint8_t

from fastgate.dataplane.base.address cimport ADDRESS_TEXT
from fastgate.dataplane.base.system cimport sockaddr_storage
from fastgate.dataplane.conn.conn cimport Worker

cdef struct Peer:
    uint8_t len
    uint8_t is_v6
    uint8_t trusted             # a proxy whose word on whose request it is counts
    char text[ADDRESS_TEXT]     # the address, or "unix:"

cdef void peer_name(
    Worker *w, Peer *p, const sockaddr_storage *socket_address
) noexcept nogil
