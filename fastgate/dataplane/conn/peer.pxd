"""Who a client is, as far as its socket says. Runs in: worker."""

from fastgate.dataplane.base.system cimport sockaddr_storage
from fastgate.dataplane.conn.conn cimport Downstream, Worker

cdef void peer_name(
    Worker *w, Downstream *d, const sockaddr_storage *peer
) noexcept nogil
