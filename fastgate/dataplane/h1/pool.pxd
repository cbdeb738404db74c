"""Idle connections to endpoints, kept for the next exchange.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Upstream, Worker

cdef Upstream *pool_take(Worker *w, int endpoint) noexcept nogil
cdef Upstream *pool_oldest(Worker *w) noexcept nogil
cdef void pool_put(Worker *w, Upstream *u) noexcept nogil
cdef void pool_remove(Worker *w, Upstream *u) noexcept nogil
cdef void pool_count(Worker *w, int endpoint, int by) noexcept nogil
