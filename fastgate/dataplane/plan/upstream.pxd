"""What holds for one upstream. Runs in: every process (made by the master).

Its endpoints are not of the plan: shared/places.pxd has them.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastgate.dataplane.balance.policies cimport Policy
from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.plan.keeper cimport Keeper

cdef enum KeyKind:              # what `hash` and `ip-hash` hash
    KEY_CLIENT = 0
    KEY_PATH
    KEY_HEADER
    KEY_COOKIE
    KEY_QUERY

cdef struct UpstreamPlan:
    Text name
    int64_t id                  # what owns its endpoints in shared memory
    const Policy *policy
    int hash_bound_percent
    int hash_key_kind           # a KeyKind
    Text hash_key_name          # the header, cookie or parameter
    int64_t connect_timeout_ms
    int64_t upstream_timeout_ms
    int64_t between_timeout_ms
    int64_t tunnel_timeout_ms
    int64_t queue_timeout_ms
    int64_t upstream_idle_ms
    int64_t eject_for_ms
    int64_t slow_start_ms       # 0: an endpoint that comes up has its weight at once
    int eject_failures          # 0: never
    int retries
    int retry_budget_percent
    int64_t retry_backoff_ms    # base of the pauses; 0: none is made
    int64_t per_try_ms          # 0: the other times alone hold
    uint64_t retry_statuses[2]  # a bit each; see listed_bit
    uint8_t retry_on            # a bit for each Again that is listed
    uint8_t retry_all           # also what is not idempotent
    int upstream_pool
    uint32_t buffer_request_bytes   # of a body, read before an endpoint is picked
    int upstream_max            # per endpoint and worker; 0: no limit
    int queue
    uint8_t lenient             # bare LF, folds and padded chunk sizes are taken

cdef inline int listed_bit(int status) noexcept nogil:
    """The bit of `status` in retry_statuses; -1: none may be listed."""
    if 500 <= status <= 599:
        return status - 500
    return 100 if status == 429 else -1

cdef inline bint lists_status(const UpstreamPlan *u, int status) noexcept nogil:
    """Is `status` one of `retry.on`?"""
    cdef int bit = listed_bit(status)
    return bit >= 0 and (u.retry_statuses[bit >> 6] >> (bit & 63)) & 1

cdef int fill_upstream(UpstreamPlan *u, dict values, Keeper keeper) except -1
