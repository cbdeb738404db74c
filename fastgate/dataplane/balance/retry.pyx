"""Whether a request is sent to another endpoint, and when.

Runs in: worker. exchange/again.pyx draws how a try that failed flows on through these.

No endpoint is tried twice. A budget is asked once for a retry: by pay_retry() where
something would be given up or waited for in vain, else by charge_retry().
"""

from fastgate.dataplane.balance.attempt cimport DUE_NOT, DUE_PAID
from fastgate.dataplane.balance.budget cimport budget_take
from fastgate.dataplane.base.atomics cimport fg_bump
from fastgate.dataplane.base.faults cimport (
    AGAIN_CONNECT, AGAIN_NEVER, FAULT_UPSTREAM_RESET, Again, fault_info,
)

cdef enum:
    MOST_DOUBLINGS = 5          # of the backoff: 32 times its base


cdef int again(
    const Attempt *a, const UpstreamPlan *u, int fault, bint over, bint repeatable,
    bint stale,
) noexcept nogil:
    """What follows on a try that failed, by the rules of exchange/again.pyx.

    fault         how it ended
    over          there is nobody to be answered, or a byte of an answer is out
    repeatable    it may arrive twice, and is there to be sent
    stale         its connection was from the pool and gave no byte of an answer
    returns       NO_MORE, RETRY or REPLAY

    A retry is charged, and counted, when there is an endpoint to be asked: see
    charge_retry().
    """
    cdef Again why = fault_info(fault).again
    if over or why == AGAIN_NEVER:
        return NO_MORE
    if why != AGAIN_CONNECT and not repeatable:
        return NO_MORE
    if fault == FAULT_UPSTREAM_RESET and stale and not a.replayed:
        return REPLAY
    if not u.retry_on >> <int>why & 1:
        return NO_MORE
    return RETRY if a.retries < u.retries else NO_MORE


cdef int64_t backoff_ms(
    int64_t base_ms, int retries, uint64_t draw, int64_t left_ms
) noexcept nogil:
    """How long to wait before a retry, in ms: full jitter.

    base_ms  doubled with each retry, 32 times of it at most
    retries  that were made before this one
    draw     64 random bits
    left_ms  until the deadline, which a wait does not outlast; below 0: there is none

    Those who failed together are spread over the whole time, and do not come back
    together: Brooker, Exponential Backoff and Jitter (2015).
    """
    cdef int64_t most_ms = base_ms << min(retries, MOST_DOUBLINGS)
    if 0 <= left_ms < most_ms:
        most_ms = left_ms
    return <int64_t>(draw % <uint64_t>(most_ms + 1))


cdef bint pay_retry(Worker *w, Attempt *a) noexcept nogil:
    """Have the budget pay for the next try of `a`, once. False: it cannot."""
    cdef int upstream = a.upstream
    if a.retry_due != DUE_PAID:
        if not budget_take(
            &w.budgets[upstream], w.upstream_plans[upstream].retry_budget_percent,
            w.now_ms,
        ):
            return False
        a.retry_due = DUE_PAID
    return True


cdef bint charge_retry(Worker *w, Attempt *a) noexcept nogil:
    """The next try of `a` is about to be made: count it, if the budget allows."""
    cdef bint is_paid = pay_retry(w, a)
    a.retry_due = DUE_NOT
    if not is_paid:
        return False
    a.retries += 1
    fg_bump(&w.row.retries, 1)
    return True
