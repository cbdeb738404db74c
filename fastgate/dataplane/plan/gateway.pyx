"""The settings of the whole gateway, into their struct. Runs in: master."""

from fastgate.dataplane.base.address cimport parse_address
from fastgate.dataplane.http.message cimport (
    MAX_FIELDS, MAX_HEAD_BYTES, MAX_RESPONSE_HEAD_BYTES, UNDERSCORES_DROP,
    UNDERSCORES_PASS, UNDERSCORES_SAFE,
)
from fastgate.dataplane.plan.answer cimport fill_errors, fill_pages
from fastgate.dataplane.plan.table cimport fill, row
from fastgate.dataplane.route.readings cimport PATHS_KEEP, PATHS_REJECT, PATHS_ROUTES

AMBIGUOUS_PATHS = {
    "routes": PATHS_ROUTES, "reject": PATHS_REJECT, "keep": PATHS_KEEP,
}
cdef dict UNDERSCORES = {
    "safe": UNDERSCORES_SAFE, "drop": UNDERSCORES_DROP, "pass": UNDERSCORES_PASS,
}

cdef GatewayPlan at             # of nobody: the rows take their offsets from it

cdef list TABLE = [
    row("accept_batch", &at, &at.accept_batch),
    row("ambiguous_paths", &at, &at.ambiguous_paths).one_of(AMBIGUOUS_PATHS),
    row("body_timeout", &at, &at.body_timeout_ms),
    row("buffer_response", &at, &at.buffer_response_bytes),
    row("half_close", &at, &at.half_close),
    row("header_timeout", &at, &at.header_timeout_ms),
    row("keepalive", &at, &at.keepalive_ms),
    row("keepalive_requests", &at, &at.keepalive_requests),
    row("lingering_time", &at, &at.lingering_time_ms),
    row("lingering_timeout", &at, &at.lingering_timeout_ms),
    row("max_conns", &at, &at.max_conns),
    row("max_header", &at, &at.head.max_head_bytes).within(1, MAX_HEAD_BYTES),
    row("max_headers", &at, &at.head.max_fields).within(1, MAX_FIELDS - 1),
    row("max_response_header", &at, &at.response_head.max_head_bytes).within(
        1, MAX_RESPONSE_HEAD_BYTES
    ),
    row("max_response_headers", &at, &at.response_head.max_fields).within(
        1, MAX_FIELDS - 1
    ),
    row("max_target", &at, &at.head.max_target_bytes),
    row("min_rate", &at, &at.min_rate),
    row("min_send_rate", &at, &at.min_send_rate),
    row("send_timeout", &at, &at.send_timeout_ms),
    row("trace", &at, &at.trace),
    row("underscores", &at, &at.head.underscores).one_of(UNDERSCORES),
]


cdef int fill_gateway(GatewayPlan *g, dict values, Keeper keeper) except -1:
    """Raises KeyError or ValueError, as `fill` does; also for a trusted proxy."""
    fill(g, values, TABLE)
    server = values["server_header"]
    if server != "pass":
        g.server_header = keeper.text("" if server == "off" else server)
    if values["via"]:
        g.via_name = keeper.text(values["via_name"])
    g.n_pages = len(values["pages"])
    g.pages = fill_pages(values["pages"], keeper)
    g.errors = fill_errors(values["error_pages"], g.pages, g.n_pages, keeper)
    return fill_trusted_proxies(g, values["trusted_proxies"], keeper)


cdef int fill_trusted_proxies(GatewayPlan *g, object networks, Keeper keeper) except -1:
    cdef Cidr *one
    cdef Text text
    g.trusted_proxies = <Cidr *>keeper.array(len(networks), sizeof(Cidr))
    for network in networks:
        if network == "unix":
            g.trusts_unix = True
            continue
        address, _, bits = str(network).partition("/")
        text = keeper.text(address)
        one = &g.trusted_proxies[g.n_trusted_proxies]
        if not parse_address(text.at, text.len, one.address):
            raise ValueError(f"trusted_proxies: {network}")
        v6 = ":" in address
        width = int(bits) if bits else (128 if v6 else 32)
        one.bits = width if v6 else width + 96
        g.n_trusted_proxies += 1
    return 0
