"""One attempt at an endpoint: choosing it, judging it, and whether another follows.

Runs in: worker.
"""

from libc.stdint cimport int64_t, uint32_t

from fastgate.dataplane.balance.attempt cimport Attempt
from fastgate.dataplane.conn.conn cimport Worker

cdef enum Sequel:               # of a try that failed
    NO_MORE = 0
    RETRY                       # another endpoint, within `retries` and the budget
    REPLAY                      # as if it had not been: only its connection was old

cdef int choose(Worker *w, const Attempt *a) noexcept nogil
cdef void note_failure(
    Worker *w, const Attempt *a, int fault, const char *rule, uint32_t rule_at,
    const char *line, uint32_t line_len,
) noexcept nogil
cdef void note_returns(Worker *w) noexcept nogil
cdef void note_answer(Worker *w, const Attempt *a, int64_t answer_us) noexcept nogil
cdef void release_lease(Worker *w, Attempt *a, int fault, bint tunnel) noexcept nogil
cdef int again(
    const Attempt *a, int fault, int most_retries, bint over, bint repeatable,
    bint stale,
) noexcept nogil
cdef bint charge_retry(Worker *w, Attempt *a) noexcept nogil
