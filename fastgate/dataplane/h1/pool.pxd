"""Idle connections to endpoints, kept for the next exchange.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.h1.connections cimport H1Origin

cdef H1Origin *pool_take(Worker *w, int endpoint) noexcept nogil
cdef H1Origin *pool_oldest(Worker *w) noexcept nogil
cdef void pool_put(Worker *w, H1Origin *u) noexcept nogil
cdef void pool_remove(Worker *w, H1Origin *u) noexcept nogil
cdef void pools_follow(Worker *w) noexcept nogil
cdef void pool_count(Worker *w, int endpoint, int by) noexcept nogil
