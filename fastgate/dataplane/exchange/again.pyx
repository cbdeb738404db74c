"""When the request of an exchange is sent again. Runs in: worker.

How a try that failed flows on, in exchange.pyx:

    a fault                a status that `retry.on` lists
      |                    |  answer_fails(): again(), has_another(), pay_retry()
      |                    |---- one says no: the answer itself is the client's
      |<-------------------'     else it is dropped, and its connection closed
    try_again() --- NO_MORE: a reply, or a cut
      |   '-------- REPLAY: at once, as if the try had not been ----------.
    RETRY                                                                 |
      |------ no `backoff`, or nobody to wait for, or the worker drains --|
    pause(): pay_retry(), STEP_BACKOFF for backoff_ms(), no lease held    |
      |<------------------------------------------------------------------'
    dispatch(): choose() -> charge_retry() -> lease -> open: maybe a fault
                   |             '---- the budget has nothing left: a reply
                   '---- none that was not tried: a reply

What may be sent again:
  - of which nothing was sent (no connection): whatever it is;
  - what met the end of a connection from the pool before a byte of the answer: the
    usual race with the endpoint's keep-alive. Once, on a new connection, if the
    method is idempotent (RFC 9110 section 9.2.2) and its body is still here: not
    begun, or held whole since STEP_GATHER. Not counted, and no setting asked;
  - after any other early end, of the head or of the body, and after an answer that
    came too late, was none, or has a status of `retry.on`: the same condition.
The first and the last as `retry.on` says, `retries` times, never to an endpoint that
was tried, and within the retry budget. With `retry.methods = "all"` what is not
idempotent is sent again too, but only as long as no byte of an answer has come.
Never when a byte of the answer is out: a client is given one answer. One that began
and ended in the same wake-up is still corked, and is taken back. Interim responses
are no part of it (RFC 9110 section 15.2): there may be any number.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastgate.dataplane.balance.attempt cimport DUE_NOT, DUE_UNPAID
from fastgate.dataplane.balance.judge cimport has_another
from fastgate.dataplane.balance.retry cimport RETRY, again, backoff_ms, pay_retry
from fastgate.dataplane.base.chance cimport random_next
from fastgate.dataplane.base.faults cimport FAULT_UPSTREAM_STATUS
from fastgate.dataplane.base.memory cimport slab_at
from fastgate.dataplane.base.wheel cimport timer_set
from fastgate.dataplane.exchange.record cimport record_failure
from fastgate.dataplane.exchange.steps cimport STEP_BACKOFF
from fastgate.dataplane.plan.upstream cimport UpstreamPlan


cdef bint may_repeat(Worker *w, const Exchange *x, bint answered) noexcept nogil:
    """May the request arrive twice, and is it there to be sent again?

    answered  a byte of an answer has come
    """
    return not x.body_sent and not x.wants_tunnel and (
        x.idempotent
        or (w.upstream_plans[x.attempt.upstream].retry_all and not answered)
    )


cdef int try_again(
    Worker *w, Exchange *x, int fault, bint repeatable, bint stale
) noexcept nogil:
    """What follows on a try that `fault` has ended: a Sequel, see again()."""
    # What nobody listed is done for methods alone that may be sent twice.
    cdef int sequel = again(
        &x.attempt, &w.upstream_plans[x.attempt.upstream], fault,
        x.response_started or x.client is NULL, repeatable, stale and x.idempotent,
    )
    if sequel == RETRY:
        x.fault = <uint8_t>fault
        if x.attempt.retry_due == DUE_NOT:
            x.attempt.retry_due = DUE_UNPAID
    return sequel


cdef bint pause(Worker *w, Exchange *x) noexcept nogil:
    """STEP_BACKOFF, if there is somebody to wait for. False: the next try is due."""
    cdef const UpstreamPlan *plan = &w.upstream_plans[x.attempt.upstream]
    cdef int64_t left_ms = -1
    if (
        plan.retry_backoff_ms == 0 or w.draining
        or not has_another(w, &x.attempt, False) or not pay_retry(w, &x.attempt)
    ):
        return False
    if x.deadline_ms:
        left_ms = max(<int64_t>0, x.deadline_ms - w.now_ms)
    x.step = STEP_BACKOFF
    timer_set(
        &w.wheel, &x.timer,
        w.now_ms + backoff_ms(
            plan.retry_backoff_ms, x.attempt.retries, random_next(&w.random), left_ms
        ),
    )
    return True


cdef void end_pauses(Worker *w) noexcept nogil:
    """The worker drains: who waits before a try makes it at the next turn."""
    cdef Exchange *x
    cdef uint32_t n
    for n in range(w.exchanges.made):
        x = <Exchange *>slab_at(&w.exchanges, n)
        if x.item.is_live and x.step == STEP_BACKOFF:
            timer_set(&w.wheel, &x.timer, w.now_ms)


cdef bint answer_fails(Worker *w, Exchange *x, int status) noexcept nogil:
    """`retry.on` lists `status`: a failure of the endpoint. True: another is asked.

    That is one which the budget pays for and which is not ejected: without it this
    answer, which is here, is better than none, and passes.
    """
    x.rule = b"is listed by retry.on"
    x.rule_at = <uint32_t>status
    if (
        again(
            &x.attempt, &w.upstream_plans[x.attempt.upstream], FAULT_UPSTREAM_STATUS,
            False, may_repeat(w, x, True), False,
        ) == RETRY
        and has_another(w, &x.attempt, True)
        and pay_retry(w, &x.attempt)
    ):
        return True
    record_failure(w, x, FAULT_UPSTREAM_STATUS)
    x.attempt.verdict = FAULT_UPSTREAM_STATUS
    return False
