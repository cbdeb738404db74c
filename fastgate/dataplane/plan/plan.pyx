"""The plan: plain Python values to C structs. Runs in: master.

Values come checked from the configuration model; what is checked again here is
only what memory safety needs (indexes, lengths).
"""

cimport cython
from libc.stdint cimport uint16_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree

from fastgate.dataplane.balance.policies cimport policy_named
from fastgate.dataplane.base.address cimport Cidr, parse_address
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
from fastgate.dataplane.http.fields cimport header_id
from fastgate.dataplane.http.message cimport (
    MAX_FIELDS, MAX_HEAD_BYTES, MAX_RESPONSE_HEAD_BYTES, UNDERSCORES_DROP,
    UNDERSCORES_PASS, UNDERSCORES_SAFE,
)
from fastgate.dataplane.http.methods cimport (
    MAX_METHOD_BYTES, METHOD_TRACE, method_number,
)
from fastgate.dataplane.http.rules cimport (
    RULE_ADD, RULE_REMOVE, RULE_SET, Rule, Rules,
)
from fastgate.dataplane.route.readings cimport PATHS_KEEP, PATHS_REJECT, PATHS_ROUTES
from fastgate.dataplane.route.router cimport Router
from fastgate.dataplane.telemetry.accesslog cimport (
    LOG_COMBINED, LOG_COMBINED_PLUS, LOG_JSON, LOG_OFF,
)

# An endpoint's identity must be the same in every worker and after a restart.
cdef uint64_t IDENTITY_SEED = 0x66617374

cdef dict AMBIGUOUS_PATHS = {
    "routes": PATHS_ROUTES, "reject": PATHS_REJECT, "keep": PATHS_KEEP,
}
KEYS = {
    "client": KEY_CLIENT, "path": KEY_PATH, "header": KEY_HEADER, "cookie": KEY_COOKIE,
    "query": KEY_QUERY,
}
cdef dict LOG_FORMATS = {
    "off": LOG_OFF,
    "combined": LOG_COMBINED,
    "combined-plus": LOG_COMBINED_PLUS,
    "json": LOG_JSON,
}
cdef dict UNDERSCORES = {
    "safe": UNDERSCORES_SAFE, "drop": UNDERSCORES_DROP, "pass": UNDERSCORES_PASS,
}
# What Allow lists if it is forwarded: every resource may have them. Whether one knows
# the methods of WebDAV is not ours to say.
cdef tuple ADVERTISED = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
)
cdef dict RULE_OPS = {"set": RULE_SET, "add": RULE_ADD, "remove": RULE_REMOVE}


@cython.final
cdef class Plan:
    """Names turned into indexes: what one generation of workers serves.

    gateway    scalars by the names of the configuration model
    listeners  name, port (0: Unix socket), scheme, is_shared, refused_methods
    upstreams  name, balance, hash_key, hash_bound, endpoints (index, address,
               family, host, port, weight, up) and the effective knobs
    routes     name, host, kind, path, upstream (index), set_host,
               request_rules and response_rules ((op, name, value), ...),
               max_body, deadline, ambiguous_paths
    Raises KeyError, ValueError or IndexError for values that the configuration
    model would not have let through.
    """

    def __cinit__(self):
        memset(&self.gateway, 0, sizeof(self.gateway))
        self._texts = []
        self._arrays = []

    def __dealloc__(self):
        for address in self._arrays:
            PyMem_RawFree(<void *><uintptr_t>address)

    def __init__(self, *, gateway, listeners, upstreams, routes):
        cdef int i
        self.n_listeners = len(listeners)
        self.n_upstreams = len(upstreams)
        self.n_routes = len(routes)
        self.n_endpoints = sum(len(u["endpoints"]) for u in upstreams)
        self.listeners = <ListenerPlan *>self._array(
            self.n_listeners, sizeof(ListenerPlan)
        )
        self.upstreams = <UpstreamPlan *>self._array(
            self.n_upstreams, sizeof(UpstreamPlan)
        )
        self.endpoints = <EndpointPlan *>self._array(
            self.n_endpoints, sizeof(EndpointPlan)
        )
        self.routes = <RoutePlan *>self._array(self.n_routes, sizeof(RoutePlan))

        self._fill_gateway(gateway)
        for i, row in enumerate(listeners):
            self._fill_listener(&self.listeners[i], row)
        for i, row in enumerate(upstreams):
            self._fill_upstream(i, row)
        for i, row in enumerate(routes):
            self._fill_route(i, row, gateway)
        self.router = Router(
            [(r["host"], r["kind"], r["path"], i) for i, r in enumerate(routes)]
        )

    cdef Text _text(self, object value):
        """A span that lives as long as the plan; None gives a NULL span."""
        cdef Text t
        cdef bytes data
        t.at = NULL
        t.len = 0
        if value is None:
            return t
        data = value.encode() if isinstance(value, str) else bytes(value)
        self._texts.append(data)
        t.at = data
        t.len = len(data)
        return t

    cdef void *_array(self, Py_ssize_t n, size_t item_bytes) except NULL:
        cdef void *at = PyMem_RawCalloc(n + 1, item_bytes)
        if at is NULL:
            raise MemoryError("plan")
        self._arrays.append(<uintptr_t>at)
        return at

    cdef int _fill_rules(self, Rules *rules, object rows) except -1:
        cdef Text name, value
        cdef Rule *rule
        rules.n = 0
        rules.rules = <Rule *>self._array(len(rows), sizeof(Rule))
        for op, header, content in rows:
            name = self._text(header)
            value = self._text(content)
            rule = &rules.rules[rules.n]
            rule.op = RULE_OPS[op]
            rule.name = name.at
            rule.name_len = name.len
            rule.value = value.at
            rule.value_len = value.len
            rule.id = header_id(name.at, name.len)
            rules.n += 1
        return 0

    cdef int _fill_gateway(self, dict g) except -1:
        cdef GatewayPlan *p = &self.gateway
        cdef Cidr *one
        cdef Text text
        if not 0 < g["max_headers"] < MAX_FIELDS:
            raise ValueError("max_headers is out of range")
        if not 0 < g["max_header"] <= MAX_HEAD_BYTES:
            raise ValueError("max_header is out of range")
        if not 0 < g["max_response_headers"] < MAX_FIELDS:
            raise ValueError("max_response_headers is out of range")
        if not 0 < g["max_response_header"] <= MAX_RESPONSE_HEAD_BYTES:
            raise ValueError("max_response_header is out of range")
        p.response_head.max_head_bytes = g["max_response_header"]
        p.response_head.max_fields = g["max_response_headers"]
        p.head.underscores = UNDERSCORES[g["underscores"]]
        p.head.max_head_bytes = g["max_header"]
        p.head.max_fields = g["max_headers"]
        p.head.max_target_bytes = g["max_target"]
        p.ambiguous_paths = AMBIGUOUS_PATHS[g["ambiguous_paths"]]
        p.header_timeout_ms = g["header_timeout"]
        p.body_timeout_ms = g["body_timeout"]
        p.send_timeout_ms = g["send_timeout"]
        p.min_send_rate = g["min_send_rate"]
        p.lingering_time_ms = g["lingering_time"]
        p.lingering_timeout_ms = g["lingering_timeout"]
        p.keepalive_ms = g["keepalive"]
        p.keepalive_requests = g["keepalive_requests"]
        p.min_rate = g["min_rate"]
        p.buffer_response_bytes = g["buffer_response"]
        p.max_conns = g["max_conns"]
        p.accept_batch = g["accept_batch"]
        p.half_close = g["half_close"]
        p.trace = g["trace"]
        p.access_log_format = LOG_FORMATS[
            "off" if g["access_log"] == "off" else g["access_log_format"]
        ]
        p.access_log_buffer_bytes = g["access_log_buffer"]
        if g["server_header"] != "pass":
            name = g["server_header"]
            p.server_header = self._text("" if name == "off" else name)
        if g["via"]:
            p.via_name = self._text(g["via_name"])

        p.trusted_proxies = <Cidr *>self._array(len(g["trusted_proxies"]), sizeof(Cidr))
        for cidr in g["trusted_proxies"]:
            if cidr == "unix":
                p.trusts_unix = True
                continue
            address, _, bits = str(cidr).partition("/")
            text = self._text(address)
            one = &p.trusted_proxies[p.n_trusted_proxies]
            if not parse_address(text.at, text.len, one.address):
                raise ValueError(f"trusted_proxies: {cidr}")
            v6 = ":" in address
            width = int(bits) if bits else (128 if v6 else 32)
            one.bits = width if v6 else width + 96
            p.n_trusted_proxies += 1
        return 0

    cdef int _fill_listener(self, ListenerPlan *l, dict row) except -1:
        cdef Text text
        cdef int number
        methods = row.get("refused_methods", ())
        l.name = self._text(row["name"])
        l.scheme = self._text(row["scheme"])
        l.port = row["port"]
        l.is_shared = row.get("is_shared", False)
        l.refused_names = <Text *>self._array(len(methods), sizeof(Text))
        for method in methods:
            text = self._text(method)
            number = method_number(text.at, text.len)
            if number >= 0:
                l.refused_methods |= <uint64_t>1 << number
            elif 0 < text.len <= MAX_METHOD_BYTES:
                l.refused_names[l.n_refused_names] = text
                l.n_refused_names += 1
            else:
                raise ValueError(f"refused_methods: {method}")
        if not self.gateway.trace:
            l.refused_methods |= <uint64_t>1 << METHOD_TRACE
        passed = []
        for name in ADVERTISED:
            text = self._text(name)
            number = method_number(text.at, text.len)
            if not l.refused_methods >> number & 1:
                passed.append(name)
        l.allow = self._text(", ".join(passed))
        return 0

    cdef int _fill_endpoint(
        self, EndpointPlan *e, dict row, int upstream
    ) except -1:
        cdef sockaddr_in *v4 = <sockaddr_in *>&e.socket_address
        cdef sockaddr_in6 *v6 = <sockaddr_in6 *>&e.socket_address
        cdef sockaddr_un *unix = <sockaddr_un *>&e.socket_address
        cdef bytes host
        e.upstream = upstream
        e.index = row["index"]
        e.address = self._text(row["address"])
        e.identity = hash_bytes(e.address.at, e.address.len, IDENTITY_SEED)
        if row["host"] is None:
            return 0
        host = row["host"].encode()
        if row["family"] == "inet":
            v4.sin_family = AF_INET
            v4.sin_port = htons(<uint16_t>row["port"])
            if inet_pton(AF_INET, host, &v4.sin_addr) != 1:
                raise ValueError(f"not an IPv4 address: {host!r}")
            e.socket_address_len = sizeof(sockaddr_in)
        elif row["family"] == "inet6":
            v6.sin6_family = AF_INET6
            v6.sin6_port = htons(<uint16_t>row["port"])
            if inet_pton(AF_INET6, host, &v6.sin6_addr) != 1:
                raise ValueError(f"not an IPv6 address: {host!r}")
            v6.sin6_scope_id = row.get("scope", 0)
            e.socket_address_len = sizeof(sockaddr_in6)
        elif row["family"] == "unix":
            if len(host) > MAX_UNIX_PATH_BYTES:
                raise ValueError(f"socket path too long: {host!r}")
            unix.sun_family = AF_UNIX
            memcpy(unix.sun_path, <const char *>host, len(host))
            e.socket_address_len = sizeof(sockaddr_un)
        else:
            raise ValueError(f"unknown address family: {row['family']}")
        return 0

    cdef int _fill_upstream(self, int i, dict row) except -1:
        cdef UpstreamPlan *u = &self.upstreams[i]
        kind, _, name = row["hash_key"].partition(":")
        u.name = self._text(row["name"])
        u.policy = policy_named(row["balance"])
        u.hash_bound_percent = row["hash_bound"]
        u.hash_key_kind = KEYS[kind]
        u.hash_key_name = self._text(name)
        u.first_endpoint = row["first_endpoint"]
        u.connect_timeout_ms = row["connect_timeout"]
        u.upstream_timeout_ms = row["upstream_timeout"]
        u.between_timeout_ms = row["between_timeout"]
        u.tunnel_timeout_ms = row["tunnel_timeout"]
        u.queue_timeout_ms = row["queue_timeout"]
        u.upstream_idle_ms = row["upstream_idle"]
        u.eject_failures = row["eject_failures"]
        u.eject_for_ms = row["eject_for"]
        u.retries = row["retries"]
        u.retry_budget_percent = row["retry_budget"]
        u.upstream_pool = row["upstream_pool"]
        u.buffer_request_bytes = row["buffer_request"]
        u.upstream_max = row["upstream_max"]
        u.queue = row["queue"]
        u.lenient = row["lenient"]
        u.n_endpoints = len(row["endpoints"])
        if u.first_endpoint < 0 or u.first_endpoint + u.n_endpoints > self.n_endpoints:
            raise IndexError("endpoints out of range")
        for k, endpoint in enumerate(row["endpoints"]):
            if endpoint["index"] != u.first_endpoint + k:
                raise IndexError("endpoints of an upstream must lie side by side")
            self._fill_endpoint(
                &self.endpoints[u.first_endpoint + <int>k], endpoint, i
            )
        return 0

    cdef int _fill_route(self, int i, dict row, dict gateway) except -1:
        cdef RoutePlan *r = &self.routes[i]
        cdef Text host = self._text(row["set_host"])
        if not 0 <= row["upstream"] < self.n_upstreams:
            raise IndexError("upstream out of range")
        r.name = self._text(row["name"])
        r.upstream = row["upstream"]
        r.max_body_bytes = row["max_body"]
        r.deadline_ms = row["deadline"]
        r.ambiguous_paths = AMBIGUOUS_PATHS[row["ambiguous_paths"]]
        r.request.host = host.at
        r.request.host_len = host.len
        r.request.x_forwarded = gateway["x_forwarded"]
        r.request.forwarded = gateway["forwarded"]
        r.request.request_id = gateway["request_id"]
        r.request.via = self.gateway.via_name.at
        r.request.via_len = self.gateway.via_name.len
        self._fill_rules(&r.request.rules, row["request_rules"])
        r.request.rules.dashes = gateway["underscores"] == "safe"
        r.response.server = self.gateway.server_header.at
        r.response.server_len = self.gateway.server_header.len
        r.response.via = self.gateway.via_name.at
        r.response.via_len = self.gateway.via_name.len
        self._fill_rules(&r.response.rules, row["response_rules"])
        return 0
