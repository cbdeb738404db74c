"""What is remembered of an exchange, and written down when it has ended.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport Exchange
from fastgate.dataplane.http.message cimport Head

cdef void record_begin(Worker *w, Exchange *x, const Head *h) noexcept nogil
cdef void record_refused(Worker *w, Exchange *x, const Head *h) noexcept nogil
cdef void record_id(Worker *w, Exchange *x) noexcept nogil
cdef void record_failure(Worker *w, Exchange *x, int fault) noexcept nogil
cdef void record_end(Worker *w, Exchange *x) noexcept nogil
