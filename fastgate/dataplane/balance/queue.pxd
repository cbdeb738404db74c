"""Exchanges that wait for a connection, by age. Runs in: worker."""

from fastgate.dataplane.base.wheel cimport Timer
from fastgate.dataplane.conn.conn cimport Exchange, Worker

cdef void waiting_timer(Worker *w, Timer *t) noexcept nogil
cdef bint wait(Worker *w, Exchange *x) noexcept nogil
cdef void wait_no_more(Worker *w, Exchange *x) noexcept nogil
