"""One attempt at an endpoint: choosing it, and judging what became of it.

Runs in: worker. Nothing here knows what is sent to the endpoint, nor sends it; that is
exchange.pyx.
"""

from libc.stdint cimport int32_t, int64_t

from fastgate.dataplane.balance.attempt cimport MAX_TRIES
from fastgate.dataplane.balance.policies cimport (
    NO_ENDPOINT, Choice, another, latency_after, pick,
)
from fastgate.dataplane.base.atomics cimport (
    fg_load, fg_load32, fg_store, fg_store32,
)
from fastgate.dataplane.base.chance cimport random_next
from fastgate.dataplane.base.faults cimport (
    FAULT_NONE, SIDE_UPSTREAM, FaultInfo, fault_info,
)
from fastgate.dataplane.plan.upstream cimport UpstreamPlan
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


cdef inline Choice choice_of(const Worker *w, const Attempt *a) noexcept nogil:
    cdef Choice choice
    choice.key = a.key
    choice.draw = 0
    choice.now_ms = w.now_ms
    choice.tried = a.tried
    choice.n_tried = a.n_tried
    return choice


cdef int choose(Worker *w, const Attempt *a) noexcept nogil:
    """The balancer's choice among endpoints that have a connection to give.

    returns  an endpoint, or NO_ROOM or NO_ENDPOINT: see pick in policies.pyx
    """
    cdef Choice choice
    if a.n_tried >= MAX_TRIES:
        return NO_ENDPOINT
    choice = choice_of(w, a)
    choice.draw = random_next(&w.random)
    return pick(&w.groups[a.upstream], w.shared, &choice)


cdef bint has_another(
    const Worker *w, const Attempt *a, bint heed_marks
) noexcept nogil:
    """Is there an endpoint that `a` has not tried and that has a connection to give?

    heed_marks  one that was ejected does not count
    """
    cdef Choice choice = choice_of(w, a)
    return a.n_tried < MAX_TRIES and another(
        &w.groups[a.upstream], w.shared, &choice, heed_marks
    )


cdef void note_failure(
    Worker *w, const Attempt *a, int fault, const char *rule, uint32_t rule_at,
    const char *line, uint32_t line_len,
) noexcept nogil:
    """Tell the error log how the leased endpoint failed; its lease is still held.

    rule  that its answer broke, static text, at the byte rule_at; NULL: none
    line  line_len bytes: the first line of what it was sent; NULL: there is none
    """
    cdef Incident what = incident(INCIDENT_UPSTREAM_FAILED)
    what.endpoint = a.endpoint
    what.fault = fault
    what.os_error = a.os_error
    what.rule = rule
    what.rule_at = rule_at
    what.line = line
    what.line_len = line_len
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
    for i in range(w.n_used):
        slot = endpoint_slot(w.shared, i)
        if w.ejected[i] and fg_load(&slot.skip_until_ms) <= w.now_ms:
            w.ejected[i] = 0
            w.n_ejected -= 1
            what.endpoint = i
            incident_note(w.incidents, w.now_ms, &what)


cdef void note_answer(Worker *w, const Attempt *a, int64_t answer_us) noexcept nogil:
    """An answer has begun: the endpoint is well, and this quick.

    answer_us  from the end of the request; -1: no sample, its time was not the
               endpoint's doing
    """
    cdef EndpointSlot *slot = endpoint_slot(w.shared, a.endpoint)
    cdef int64_t at_ms
    if answer_us >= 0:
        # Racing workers may lose a sample, never the value.
        at_ms = fg_load(&slot.latency_at_ms)
        fg_store(
            &slot.latency_ns,
            latency_after(
                fg_load(&slot.latency_ns),
                answer_us * 1000,
                w.now_ms - at_ms if 0 <= at_ms < w.now_ms else 0,
            ),
        )
        fg_store(&slot.latency_at_ms, w.now_ms)
    if fg_load32(&slot.consecutive_failures):
        fg_store32(&slot.consecutive_failures, 0)


cdef void release_lease(Worker *w, Attempt *a, int fault, bint tunnel) noexcept nogil:
    """Settle the lease, if one is held, and hold against the endpoint what it did.

    In a tunnel the two ends talk past us: how it ends is their affair. Were it the
    endpoint's, a client could eject endpoints by opening tunnels. What its status said
    already stands, however the rest of the answer ended.
    """
    cdef const FaultInfo *info
    cdef int endpoint = a.endpoint
    cdef bint failed = False
    if endpoint < 0:
        return
    a.endpoint = -1
    if a.verdict != FAULT_NONE:
        fault = a.verdict
    if fault != FAULT_NONE:
        info = fault_info(fault)
        failed = info.side == SIDE_UPSTREAM and not tunnel
    if failed and info.ejects:
        hold_against(w, &w.upstream_plans[a.upstream], endpoint)
    # Last: from here on the slot may come to be another's.
    settle(w.shared, w.slot, endpoint, failed)


cdef void hold_against(
    Worker *w, const UpstreamPlan *plan, int endpoint
) noexcept nogil:
    """One failure more in a row; one too many ejects it."""
    cdef EndpointSlot *slot = endpoint_slot(w.shared, endpoint)
    # Clamped as everything that others wrote, and too wide to overflow.
    cdef int64_t failures = (
        max(<int64_t>0, <int64_t>fg_load32(&slot.consecutive_failures)) + 1
    )
    if plan.eject_failures and failures >= plan.eject_failures:
        fg_store(&slot.skip_until_ms, w.now_ms + plan.eject_for_ms)
        failures = 0
        note_ejection(w, endpoint)
    failures = min(failures, <int64_t>MAX_FAILURES)
    fg_store32(&slot.consecutive_failures, <int32_t>failures)
