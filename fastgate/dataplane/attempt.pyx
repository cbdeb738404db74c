"""One attempt at an endpoint: choosing it, judging it, and whether another follows.

Runs in: worker. Nothing here moves an exchange on; that is exchange.pyx.
"""

from fastgate.dataplane.atomics cimport fg_bump, fg_load32, fg_store, fg_store32
from fastgate.dataplane.balance cimport NO_ENDPOINT, Choice, pick
from fastgate.dataplane.conn cimport MAX_TRIES, Exchange, Worker
from fastgate.dataplane.faults cimport (
    FAULT_CONNECT, FAULT_CONNECT_TIMEOUT, FAULT_UPSTREAM_RESET,
)
from fastgate.dataplane.limits cimport budget_take, random_next
from fastgate.dataplane.plan cimport UpstreamPlan
from fastgate.dataplane.slots cimport EndpointSlot, settle

cdef enum:
    MAX_FULL = 64               # endpoints at their limit passed over in one pick


cdef int choose(Worker *w, Exchange *x, bint *full) noexcept nogil:
    """The balancer's choice among endpoints that have a connection to give.

    full  set when there would be one, but for max_connections
    """
    cdef const UpstreamPlan *plan = &w.upstream_plans[x.group]
    cdef int avoid[MAX_TRIES + MAX_FULL]
    cdef Choice choice
    cdef int endpoint
    cdef int i
    full[0] = False
    for i in range(x.n_tried):
        avoid[i] = x.tried[i]
    choice.key = x.key
    choice.draw = random_next(&w.random)
    choice.now_ms = w.now_ms
    choice.tried = avoid
    choice.n_tried = x.n_tried
    if x.n_tried >= MAX_TRIES:
        return NO_ENDPOINT
    while True:
        endpoint = pick(&w.groups[x.group], w.shared, &choice)
        if endpoint == NO_ENDPOINT:
            return NO_ENDPOINT
        if (
            plan.max_connections == 0
            or w.pools[endpoint].open < plan.max_connections
            or w.pools[endpoint].idle > 0
        ):
            return endpoint
        full[0] = True
        if choice.n_tried == x.n_tried + MAX_FULL:
            return NO_ENDPOINT
        avoid[choice.n_tried] = endpoint
        choice.n_tried += 1


cdef void release_lease(Worker *w, Exchange *x, bint failed) noexcept nogil:
    """Settle the lease, and note how the endpoint did."""
    cdef EndpointSlot *slot
    cdef const UpstreamPlan *plan
    cdef int failures
    if x.endpoint < 0:
        return
    slot = &w.shared.endpoints[x.endpoint]
    plan = &w.upstream_plans[x.group]
    settle(w.shared, w.slot, x.endpoint, failed)
    x.endpoint = -1
    if not failed:
        return
    failures = fg_load32(&slot.consecutive_failures) + 1
    if plan.eject_failures and failures >= plan.eject_failures:
        fg_store(&slot.skip_until_ms, w.now_ms + plan.eject_for_ms)
        failures = 0
    fg_store32(&slot.consecutive_failures, failures)


cdef bint may_retry(Worker *w, Exchange *x, int fault) noexcept nogil:
    """Another endpoint may be asked: the rules of exchange.pyx, and the budget."""
    cdef const UpstreamPlan *plan = &w.upstream_plans[x.group]
    cdef bint unsent = fault == FAULT_CONNECT or fault == FAULT_CONNECT_TIMEOUT
    if x.response_started or x.client is NULL or x.retries >= plan.retries:
        return False
    if not unsent and (
        fault != FAULT_UPSTREAM_RESET or not x.idempotent or x.body_sent
        or x.wants_tunnel
    ):
        return False
    if not budget_take(&w.budgets[x.group], plan.retry_budget_percent, w.now_ms):
        return False
    x.fault = fault
    x.retries += 1
    fg_bump(&w.row.retries, 1)
    return True
