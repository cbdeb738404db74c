"""Who waits for a connection, by age. Runs in: worker."""

from fastgate.dataplane.balance.attempt cimport Attempt
from fastgate.dataplane.base.wheel cimport Timer
from fastgate.dataplane.conn.conn cimport Worker

cdef int queue_of(const Worker *w, const Timer *t) noexcept nogil
cdef void look_again(Worker *w, int upstream) noexcept nogil
cdef bint wait(Worker *w, Attempt *a) noexcept nogil
cdef void wait_no_more(Worker *w, Attempt *a) noexcept nogil
