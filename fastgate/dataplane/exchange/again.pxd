"""When an exchange is sent to an endpoint again, and when another follows.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport Exchange

cdef bint may_repeat(Worker *w, const Exchange *x, bint answered) noexcept nogil
cdef int try_again(
    Worker *w, Exchange *x, int fault, bint repeatable, bint stale
) noexcept nogil
cdef bint pause(Worker *w, Exchange *x) noexcept nogil
cdef void end_pauses(Worker *w) noexcept nogil
cdef bint answer_fails(Worker *w, Exchange *x, int status) noexcept nogil
