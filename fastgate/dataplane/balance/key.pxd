"""Where `hash` and `ip-hash` place a request. Runs in: worker."""

from libc.stdint cimport uint64_t

from fastgate.dataplane.conn.conn cimport Exchange, Worker
from fastgate.dataplane.http.message cimport Head

cdef uint64_t balancing_key(Worker *w, Exchange *x, const Head *h) noexcept nogil
