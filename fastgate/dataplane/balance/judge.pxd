"""One attempt at an endpoint: choosing it, and judging what became of it.

Runs in: worker.
"""

from libc.stdint cimport int64_t, uint32_t

from fastgate.dataplane.balance.attempt cimport Attempt
from fastgate.dataplane.conn.conn cimport Worker

cdef int choose(Worker *w, const Attempt *a) noexcept nogil
cdef bint has_another(const Worker *w, const Attempt *a, bint heed_marks) noexcept nogil
cdef void note_failure(
    Worker *w, const Attempt *a, int fault, const char *rule, uint32_t rule_at,
    const char *line, uint32_t line_len,
) noexcept nogil
cdef void note_returns(Worker *w) noexcept nogil
cdef void note_answer(Worker *w, const Attempt *a, int64_t answer_us) noexcept nogil
cdef void release_lease(Worker *w, Attempt *a, int fault, bint tunnel) noexcept nogil
