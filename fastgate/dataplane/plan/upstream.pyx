"""The settings of one upstream, into its struct. Runs in: master."""

from fastgate.dataplane.balance.policies cimport policy_named
from fastgate.dataplane.base.faults cimport (
    AGAIN_BAD, AGAIN_CONNECT, AGAIN_RESET, AGAIN_STATUS, AGAIN_TIMEOUT,
)
from fastgate.dataplane.plan.table cimport fill, number_of, row
from fastgate.dataplane.shared.places cimport upstream_id

cdef dict KEYS = {
    "client": KEY_CLIENT, "path": KEY_PATH, "header": KEY_HEADER, "cookie": KEY_COOKIE,
    "query": KEY_QUERY,
}

cdef dict CAUSES = {
    "connect": AGAIN_CONNECT, "reset": AGAIN_RESET, "timeout": AGAIN_TIMEOUT,
    "bad": AGAIN_BAD,
}

cdef dict METHODS = {"idempotent": False, "all": True}

cdef UpstreamPlan at            # of nobody: the rows take their offsets from it

cdef list TABLE = [
    row("between_timeout", &at, &at.between_timeout_ms),
    row("buffer_request", &at, &at.buffer_request_bytes),
    row("connect_timeout", &at, &at.connect_timeout_ms),
    row("eject_failures", &at, &at.eject_failures),
    row("eject_for", &at, &at.eject_for_ms),
    row("hash_bound", &at, &at.hash_bound_percent),
    row("lenient", &at, &at.lenient),
    row("per_try", &at, &at.per_try_ms),
    row("queue", &at, &at.queue),
    row("queue_timeout", &at, &at.queue_timeout_ms),
    row("retries", &at, &at.retries),
    row("retry_backoff", &at, &at.retry_backoff_ms),
    row("retry_budget", &at, &at.retry_budget_percent),
    row("retry_methods", &at, &at.retry_all).one_of(METHODS),
    row("slow_start", &at, &at.slow_start_ms),
    row("tunnel_timeout", &at, &at.tunnel_timeout_ms),
    row("upstream_idle", &at, &at.upstream_idle_ms),
    row("upstream_max", &at, &at.upstream_max),
    row("upstream_pool", &at, &at.upstream_pool),
    row("upstream_timeout", &at, &at.upstream_timeout_ms),
]


cdef int fill_upstream(UpstreamPlan *u, dict values, Keeper keeper) except -1:
    """Raises KeyError or ValueError, as `fill` does."""
    fill(u, values, TABLE)
    kind, _, name = values["hash_key"].partition(":")
    u.hash_key_kind = number_of("hash_key", kind, KEYS)
    u.hash_key_name = keeper.text(name)
    for cause in values["retry_on"]:
        list_cause(u, cause)
    u.name = keeper.text(values["name"])
    u.id = upstream_id(values["name"])
    u.policy = policy_named(values["balance"])
    return 0


cdef int list_cause(UpstreamPlan *u, object cause) except -1:
    """Put a word or a status of `retry.on` into the plan. Raises ValueError."""
    cdef int bit
    cdef int why = AGAIN_STATUS
    if isinstance(cause, int):
        bit = listed_bit(cause)
        if bit < 0:
            raise ValueError(f"retry_on: {cause} is no status that may be listed")
        u.retry_statuses[bit >> 6] |= <uint64_t>1 << (bit & 63)
    else:
        why = <int>number_of("retry_on", cause, CAUSES)
    u.retry_on |= <uint8_t>(1 << why)
    return 0
