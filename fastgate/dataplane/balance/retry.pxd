"""Whether a request is sent to another endpoint, and when. Runs in: worker."""

from libc.stdint cimport int64_t, uint64_t

from fastgate.dataplane.balance.attempt cimport Attempt
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.plan.upstream cimport UpstreamPlan

cdef enum Sequel:               # of a try that failed
    NO_MORE = 0
    RETRY                       # another endpoint, within `retries` and the budget
    REPLAY                      # as if it had not been: only its connection was old

cdef int again(
    const Attempt *a, const UpstreamPlan *u, int fault, bint over, bint repeatable,
    bint stale,
) noexcept nogil
cdef int64_t backoff_ms(
    int64_t base_ms, int retries, uint64_t draw, int64_t left_ms
) noexcept nogil
cdef bint pay_retry(Worker *w, Attempt *a) noexcept nogil
cdef bint charge_retry(Worker *w, Attempt *a) noexcept nogil
