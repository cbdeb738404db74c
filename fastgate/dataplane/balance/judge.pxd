"""One attempt at an endpoint: choosing it, judging it, and whether another follows.

Runs in: worker.
"""

from fastgate.dataplane.balance.attempt cimport Attempt
from fastgate.dataplane.conn.conn cimport Exchange, Worker

cdef enum Sequel:               # of a try that failed
    NO_MORE = 0
    RETRY                       # another endpoint, within `retries` and the budget
    REPLAY                      # as if it had not been: only its connection was old

cdef int choose(Worker *w, Exchange *x) noexcept nogil
cdef void note_failure(Worker *w, const Exchange *x, int fault) noexcept nogil
cdef void note_returns(Worker *w) noexcept nogil
cdef void note_answer(Worker *w, const Exchange *x) noexcept nogil
cdef void release_lease(Worker *w, Exchange *x, int fault) noexcept nogil
cdef int again(
    const Attempt *a, int fault, int most_retries, bint over, bint repeatable,
    bint stale,
) noexcept nogil
cdef bint charge_retry(Worker *w, Exchange *x) noexcept nogil
