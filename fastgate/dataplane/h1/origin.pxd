"""Connections to endpoints, and the HTTP/1.1 answers that come over them.

Runs in: worker.
"""

from libc.stdint cimport uint32_t

from fastgate.dataplane.conn.conn cimport Exchange, SideOps, Upstream, Worker

cdef const SideOps *upstream_side() noexcept nogil
cdef int upstream_open(
    Worker *w, Exchange *x, int endpoint, Upstream **opened
) noexcept nogil
cdef int opening_fault(int error, bint is_unix) noexcept nogil
cdef void upstream_bind(Worker *w, Upstream *u, Exchange *x) noexcept nogil
cdef void upstream_release(Worker *w, Exchange *x) noexcept nogil
cdef bint upstream_retire(Worker *w) noexcept nogil
cdef void upstream_close(Worker *w, Upstream *u, bint reset) noexcept nogil
cdef void upstream_event(Worker *w, Upstream *u, uint32_t events) noexcept nogil
cdef void upstream_run(Worker *w, Upstream *u) noexcept nogil
cdef void upstream_timer(Worker *w, Upstream *u) noexcept nogil
