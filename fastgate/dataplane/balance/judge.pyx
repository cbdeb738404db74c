"""One attempt at an endpoint: choosing it, judging it, and whether another follows.

Runs in: worker. Nothing here moves an exchange on; that is exchange.pyx.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memchr

from fastgate.dataplane.balance.attempt cimport MAX_TRIES, Attempt
from fastgate.dataplane.balance.budget cimport budget_take
from fastgate.dataplane.balance.policies cimport (
    NO_ENDPOINT, Choice, latency_after, pick,
)
from fastgate.dataplane.base.atomics cimport (
    fg_bump, fg_load, fg_load32, fg_store, fg_store32,
)
from fastgate.dataplane.base.chance cimport random_next
from fastgate.dataplane.base.faults cimport (
    AGAIN_IDEMPOTENT,
    AGAIN_NEVER,
    FAULT_NONE,
    FAULT_UPSTREAM_BAD,
    FAULT_UPSTREAM_CUT,
    FAULT_UPSTREAM_HEAD,
    FAULT_UPSTREAM_RESET,
    SIDE_UPSTREAM,
    Again,
    FaultInfo,
    fault_info,
)
from fastgate.dataplane.conn.conn cimport Exchange, Worker
from fastgate.dataplane.conn.steps cimport ENDING_CUT_BOTH, step_info
from fastgate.dataplane.plan.plan cimport UpstreamPlan
from fastgate.dataplane.shared.slots cimport EndpointSlot, endpoint_slot, settle
from fastgate.dataplane.telemetry.incidents cimport (
    INCIDENT_ENDPOINT_BACK,
    INCIDENT_ENDPOINT_EJECTED,
    INCIDENT_UPSTREAM_FAILED,
    Incident,
    incident,
    incident_note,
)

cdef enum:
    MAX_FAILURES = 1000000      # in a row: more than `eject` can ask for


cdef int choose(Worker *w, Exchange *x) noexcept nogil:
    """The balancer's choice among endpoints that have a connection to give.

    returns  an endpoint, or NO_ROOM or NO_ENDPOINT: see pick in policies.pyx
    """
    cdef Choice choice
    if x.attempt.n_tried >= MAX_TRIES:
        return NO_ENDPOINT
    choice.key = x.attempt.key
    choice.draw = random_next(&w.random)
    choice.now_ms = w.now_ms
    choice.tried = x.attempt.tried
    choice.n_tried = x.attempt.n_tried
    return pick(&w.groups[x.attempt.upstream], w.shared, &choice)


cdef void note_failure(Worker *w, const Exchange *x, int fault) noexcept nogil:
    """Tell the error log how the leased endpoint failed; its lease is still held."""
    cdef Incident what = incident(INCIDENT_UPSTREAM_FAILED)
    cdef const char *end
    what.endpoint = x.attempt.endpoint
    what.fault = fault
    what.os_error = x.attempt.os_error
    if (
        fault == FAULT_UPSTREAM_BAD or fault == FAULT_UPSTREAM_HEAD
        or fault == FAULT_UPSTREAM_CUT
    ):
        what.rule = w.response.rule
        what.rule_at = w.response.rule_at
    if x.head.end:
        # As it was sent: kept until the exchange is over, with a log or without.
        end = <const char *>memchr(x.head.data, c'\r', x.head.end)
        what.line = x.head.data
        what.line_len = <uint32_t>(end - x.head.data) if end else x.head.end
    incident_note(w.incidents, w.now_ms, &what)


cdef void note_ejection(Worker *w, int endpoint) noexcept nogil:
    cdef Incident what = incident(INCIDENT_ENDPOINT_EJECTED)
    what.endpoint = endpoint
    incident_note(w.incidents, w.now_ms, &what)
    w.n_ejected += not w.ejected[endpoint]
    w.ejected[endpoint] = 1


cdef void note_returns(Worker *w) noexcept nogil:
    """Tell the error log which endpoints that this worker ejected are asked again."""
    cdef Incident what = incident(INCIDENT_ENDPOINT_BACK)
    cdef EndpointSlot *slot
    cdef int i
    if w.n_ejected == 0:
        return
    for i in range(w.n_endpoints):
        slot = endpoint_slot(w.shared, i)
        if w.ejected[i] and fg_load(&slot.skip_until_ms) <= w.now_ms:
            w.ejected[i] = 0
            w.n_ejected -= 1
            what.endpoint = i
            incident_note(w.incidents, w.now_ms, &what)


cdef void note_answer(Worker *w, const Exchange *x) noexcept nogil:
    """The response head has come: the endpoint is well, and this quick.

    The time counts from the end of the request. Where the head went ahead of a body
    that streams, how long it took is the client's doing: no sample.
    """
    cdef EndpointSlot *slot = endpoint_slot(w.shared, x.attempt.endpoint)
    cdef int64_t at_ms
    if not x.streams:
        # Racing workers may lose a sample, never the value.
        at_ms = fg_load(&slot.latency_at_ms)
        fg_store(
            &slot.latency_ns,
            latency_after(
                fg_load(&slot.latency_ns),
                x.head_us * 1000,
                w.now_ms - at_ms if 0 <= at_ms < w.now_ms else 0,
            ),
        )
        fg_store(&slot.latency_at_ms, w.now_ms)
    if fg_load32(&slot.consecutive_failures):
        fg_store32(&slot.consecutive_failures, 0)


cdef void release_lease(Worker *w, Exchange *x, int fault) noexcept nogil:
    """Settle the lease, and hold against the endpoint what it did, if it did.

    In a tunnel the two ends talk past us: how it ends is their affair. Were it the
    endpoint's, a client could eject endpoints by opening tunnels.
    """
    cdef const FaultInfo *info
    cdef EndpointSlot *slot
    cdef const UpstreamPlan *plan
    cdef int endpoint = x.attempt.endpoint
    cdef bint failed = False
    cdef int64_t failures
    if endpoint < 0:
        return
    x.attempt.endpoint = -1
    if fault != FAULT_NONE:
        info = fault_info(fault)
        failed = (
            info.side == SIDE_UPSTREAM
            and step_info(x.step).ending != ENDING_CUT_BOTH
        )
    settle(w.shared, w.slot, endpoint, failed)
    if not failed or not info.ejects:
        return
    slot = endpoint_slot(w.shared, endpoint)
    plan = &w.upstream_plans[x.attempt.upstream]
    # Clamped as everything that others wrote, and too wide to overflow.
    failures = max(<int64_t>0, <int64_t>fg_load32(&slot.consecutive_failures)) + 1
    if plan.eject_failures and failures >= plan.eject_failures:
        fg_store(&slot.skip_until_ms, w.now_ms + plan.eject_for_ms)
        failures = 0
        note_ejection(w, endpoint)
    failures = min(failures, <int64_t>MAX_FAILURES)
    fg_store32(&slot.consecutive_failures, <int32_t>failures)


cdef int again(
    const Attempt *a, int fault, int most_retries, bint over, bint repeatable,
    bint stale,
) noexcept nogil:
    """What follows on a try that failed, by the rules of exchange.pyx.

    fault         how it ended
    most_retries  that the upstream allows
    over          there is nobody to be answered, or a byte of an answer is out
    repeatable    it may arrive twice: the method is idempotent, no byte of a body was
                  sent, and no upgrade was asked for
    stale         its connection was from the pool and gave no byte of an answer
    returns       NO_MORE, RETRY or REPLAY

    A retry is charged, and counted, when there is an endpoint to be asked: see
    charge_retry().
    """
    cdef Again allowed = fault_info(fault).again
    if over or allowed == AGAIN_NEVER:
        return NO_MORE
    if allowed == AGAIN_IDEMPOTENT and not repeatable:
        return NO_MORE
    if fault == FAULT_UPSTREAM_RESET and stale and not a.replayed:
        return REPLAY
    return RETRY if a.retries < most_retries else NO_MORE


cdef bint charge_retry(Worker *w, Exchange *x) noexcept nogil:
    """The next try of `x` is about to be made: count it, if the budget allows."""
    cdef int upstream = x.attempt.upstream
    x.attempt.retry_due = 0
    if not budget_take(
        &w.budgets[upstream], w.upstream_plans[upstream].retry_budget_percent, w.now_ms
    ):
        return False
    x.attempt.retries += 1
    fg_bump(&w.row.retries, 1)
    return True
