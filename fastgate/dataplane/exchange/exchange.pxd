"""One request and its response, from the head to the log line.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Exchange, ExchangeEvents, Worker

cdef const ExchangeEvents *exchange_events() noexcept nogil
cdef void exchange_timer(Worker *w, Exchange *x) noexcept nogil
cdef void exchange_abandon(Worker *w, Exchange *x, int fault) noexcept nogil
