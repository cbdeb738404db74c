"""One attempt at an endpoint: choosing it, judging it, and whether another follows.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Exchange, Worker

cdef int choose(Worker *w, Exchange *x) noexcept nogil
cdef void note_failure(Worker *w, const Exchange *x, int fault) noexcept nogil
cdef void note_returns(Worker *w) noexcept nogil
cdef void note_answer(Worker *w, const Exchange *x) noexcept nogil
cdef void release_lease(Worker *w, Exchange *x, int fault) noexcept nogil
cdef bint may_retry(Worker *w, Exchange *x, int fault) noexcept nogil
cdef bint charge_retry(Worker *w, Exchange *x) noexcept nogil
