"""The settings of one upstream and its endpoints, into their structs.

Runs in: master.
"""

from libc.stdint cimport uint16_t
from libc.string cimport memcpy

from fastgate.dataplane.balance.policies cimport policy_named
from fastgate.dataplane.base.faults cimport (
    AGAIN_BAD, AGAIN_CONNECT, AGAIN_RESET, AGAIN_STATUS, AGAIN_TIMEOUT,
)
from fastgate.dataplane.base.hashing cimport hash_bytes
from fastgate.dataplane.base.system cimport (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    htons,
    inet_pton,
    sockaddr_in,
    sockaddr_in6,
    sockaddr_un,
)
from fastgate.dataplane.plan.table cimport fill, number_of, row

# An endpoint's identity must be the same in every worker and after a restart.
cdef uint64_t IDENTITY_SEED = 0x66617374

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
    row("first_endpoint", &at, &at.first_endpoint),
    row("hash_bound", &at, &at.hash_bound_percent),
    row("lenient", &at, &at.lenient),
    row("per_try", &at, &at.per_try_ms),
    row("queue", &at, &at.queue),
    row("queue_timeout", &at, &at.queue_timeout_ms),
    row("retries", &at, &at.retries),
    row("retry_backoff", &at, &at.retry_backoff_ms),
    row("retry_budget", &at, &at.retry_budget_percent),
    row("retry_methods", &at, &at.retry_all).one_of(METHODS),
    row("tunnel_timeout", &at, &at.tunnel_timeout_ms),
    row("upstream_idle", &at, &at.upstream_idle_ms),
    row("upstream_max", &at, &at.upstream_max),
    row("upstream_pool", &at, &at.upstream_pool),
    row("upstream_timeout", &at, &at.upstream_timeout_ms),
]


cdef int fill_upstream(
    UpstreamPlan *u, int index, dict values, EndpointPlan *endpoints,
    int n_endpoints, Keeper keeper,
) except -1:
    """Raises KeyError or ValueError, as `fill` does; also for an endpoint's address.

    Raises IndexError for endpoints that are not there, or not side by side.
    """
    cdef int k
    fill(u, values, TABLE)
    kind, _, name = values["hash_key"].partition(":")
    u.hash_key_kind = number_of("hash_key", kind, KEYS)
    u.hash_key_name = keeper.text(name)
    for cause in values["retry_on"]:
        list_cause(u, cause)
    u.name = keeper.text(values["name"])
    u.policy = policy_named(values["balance"])
    u.n_endpoints = len(values["endpoints"])
    if not 0 <= u.first_endpoint <= n_endpoints - u.n_endpoints:
        raise IndexError("endpoints out of range")
    for k, endpoint in enumerate(values["endpoints"], u.first_endpoint):
        if endpoint["index"] != k:
            raise IndexError("endpoints of an upstream must lie side by side")
        endpoints[k].upstream = index
        endpoints[k].index = k
        fill_endpoint(&endpoints[k], endpoint, keeper)
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


cdef int fill_endpoint(EndpointPlan *e, dict values, Keeper keeper) except -1:
    cdef sockaddr_in *v4 = <sockaddr_in *>&e.socket_address
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *>&e.socket_address
    cdef sockaddr_un *unix = <sockaddr_un *>&e.socket_address
    cdef bytes host
    e.address = keeper.text(values["address"])
    e.identity = hash_bytes(e.address.at, e.address.len, IDENTITY_SEED)
    if values["host"] is None:
        return 0
    host = values["host"].encode()
    if values["family"] == "inet":
        v4.sin_family = AF_INET
        v4.sin_port = htons(<uint16_t>values["port"])
        if inet_pton(AF_INET, host, &v4.sin_addr) != 1:
            raise ValueError(f"not an IPv4 address: {host!r}")
        e.socket_address_len = sizeof(sockaddr_in)
    elif values["family"] == "inet6":
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(<uint16_t>values["port"])
        if inet_pton(AF_INET6, host, &v6.sin6_addr) != 1:
            raise ValueError(f"not an IPv6 address: {host!r}")
        v6.sin6_scope_id = values.get("scope", 0)
        e.socket_address_len = sizeof(sockaddr_in6)
    elif values["family"] == "unix":
        if len(host) > MAX_UNIX_PATH_BYTES:
            raise ValueError(f"socket path too long: {host!r}")
        unix.sun_family = AF_UNIX
        memcpy(unix.sun_path, <const char *>host, len(host))
        e.socket_address_len = sizeof(sockaddr_un)
    else:
        raise ValueError(f"unknown address family: {values['family']}")
    return 0
