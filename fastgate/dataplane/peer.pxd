"""Who a client is, as far as its socket says. Runs in: worker."""

from fastgate.dataplane.conn cimport Downstream, Worker
from fastgate.dataplane.system cimport sockaddr_storage

cdef void peer_name(
    Worker *w, Downstream *d, const sockaddr_storage *peer
) noexcept nogil
