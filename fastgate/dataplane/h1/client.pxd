"""Connections of clients, and the HTTP/1.1 requests that come over them.

Runs in: worker.
"""

from libc.stdint cimport uint32_t

from fastgate.dataplane.base.system cimport sockaddr_storage
from fastgate.dataplane.conn.conn cimport Downstream, SideOps, Worker

cdef const SideOps *downstream_side() noexcept nogil
cdef Downstream *downstream_open(
    Worker *w, int fd, int listener, const sockaddr_storage *peer
) noexcept nogil
cdef void downstream_close(Worker *w, Downstream *d, bint reset) noexcept nogil
cdef bint downstream_retire(Worker *w) noexcept nogil
cdef void downstream_next(Worker *w, Downstream *d) noexcept nogil
cdef void downstream_tunnel(Worker *w, Downstream *d) noexcept nogil
cdef void downstream_rearm(Worker *w, Downstream *d) noexcept nogil
cdef void downstream_drain(Worker *w, Downstream *d) noexcept nogil
cdef void downstream_event(Worker *w, Downstream *d, uint32_t events) noexcept nogil
cdef void downstream_run(Worker *w, Downstream *d) noexcept nogil
cdef void downstream_timer(Worker *w, Downstream *d) noexcept nogil
