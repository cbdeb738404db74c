"""The configuration as frozen models.

Runs in: every process (imported only where configuration is read).

Constructors take what a TOML file takes, so `Gateway(keepalive="75s")` and
`Gateway(keepalive=75)` are the same; attributes hold parsed values: durations
are **milliseconds**, sizes **bytes**, rates bytes per second, percentages
whole percents. `load.load` builds a Config and turns every fault in it into a
`Problem` with its place; a Config built directly raises pydantic's
ValidationError. Either way it cannot exist wrong.

Scalar settings take default, range and description from `knobs.KNOBS`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fastgate.config import machine
from fastgate.config.across import (
    Finding,
    check_addresses,
    check_counts,
    check_heads,
    check_loops,
)
from fastgate.config.address import parse_address
from fastgate.config.bounds import HEADER_RULES, WEIGHT
from fastgate.config.checks import (
    Fault,
    check_hash_key,
    check_header_name,
    check_header_table,
    check_header_value,
    check_name,
    check_upstream_host,
    fault,
    raise_all,
)
from fastgate.config.knob import Kind, Knob, parse_eject, read_choice
from fastgate.config.knobs import BALANCES, KNOBS
from fastgate.config.match import check_path, check_route_host, never_matched
from fastgate.config.units import (
    BadValueError,
    is_below_zero,
    nearest,
    parse_count,
    parse_percent,
    parse_size_bytes,
    parse_switch,
    show,
)

_JSON_TYPES: dict[Kind, list[str]] = {
    Kind.COUNT: ["integer", "string"],
    Kind.DURATION: ["string", "number"],
    Kind.SIZE: ["string", "integer"],
    Kind.RATE: ["string", "integer"],
    Kind.PERCENT: ["string", "integer"],
    Kind.SWITCH: ["boolean", "string"],
    Kind.CHOICE: ["string"],
    Kind.TEXT: ["string"],
    Kind.NETWORKS: ["array", "string"],
    Kind.EJECT: ["string"],
}


def _knob(
    key: str,
    *,
    overrides: bool = False,
    factory: Callable[[dict[str, Any]], Any] | None = None,
) -> Any:
    """Make the field of a knob.

    overrides  its default is None, meaning the gateway's value
    factory    makes the default from the fields before it
    """
    knob = KNOBS[key]

    def describe(schema: dict[str, Any]) -> None:
        description = schema.get("description")
        schema.clear()
        types = _JSON_TYPES[knob.kind]
        schema.update(
            description=description, type=types if len(types) > 1 else types[0]
        )
        if knob.choices:
            schema["enum"] = list(knob.choices)
        if not overrides and knob.default is not None:
            schema["default"] = knob.default
        schema["x-metavar"] = knob.metavar
        if not overrides:
            schema["x-flag"] = knob.flag
            schema["x-env"] = knob.variable

    if overrides:
        return Field(
            default=None,
            description=f"{knob.help} (default: the gateway's {key})",
            json_schema_extra=describe,
        )
    description = f"{knob.help} (default: {knob.default_text})"
    if factory is not None:
        return Field(
            default_factory=factory, description=description, json_schema_extra=describe
        )
    # `auto` is resolved by the validator, which defaults skip unless asked.
    is_auto = knob.default == "auto"
    default: Any = knob.default
    if not is_auto and default is not None:
        default = knob.read(default)
    return Field(
        default=default,
        description=description,
        validate_default=is_auto,
        json_schema_extra=describe,
    )


class _Settings(BaseModel):
    """Base: frozen, no unknown key, knobs read by their own rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _read_knob(cls, raw: Any, info: ValidationInfo) -> Any:
        knob = KNOBS.get(info.field_name or "")
        if knob is None or raw is None:
            return raw
        try:
            value = knob.read(raw)
        except BadValueError as bad:
            raise fault(str(bad), bad.suggestion) from None
        return _resolve(knob, value, info.data) if value == "auto" else value


def _resolve(knob: Knob, value: str, data: Mapping[str, Any]) -> Any:
    """Turn `auto` into a value, where the model holds one."""
    if knob.key == "workers":
        return machine.usable_cpus()
    if knob.key == "pin":
        workers = data.get("workers", 0)
        return 1 < workers == machine.affinity_cpus()
    if knob.key == "max_conns":
        nofile = data.get("nofile", "auto")
        return machine.connections_for(
            machine.hard_nofile() if nofile == "auto" else nofile
        )
    return value


def _eject_failures(eject: str | None) -> int | None:
    return None if eject is None else parse_eject(eject)[0]


def _eject_for_ms(eject: str | None) -> int | None:
    return None if eject is None else parse_eject(eject)[1]


def _head_or_less(data: dict[str, Any]) -> int:
    """Give the default of max_target: a target is part of the head."""
    default = parse_size_bytes(KNOBS["max_target"].default)
    max_header: int = data.get("max_header", default)
    return min(default, max_header)


class Gateway(_Settings):
    """Settings of the whole program, and the defaults of upstreams and routes."""

    workers: int = _knob("workers")
    pin: bool = _knob("pin")
    user: str | None = _knob("user")
    group: str | None = _knob("group")
    pid_file: str | None = _knob("pid_file")
    admin_socket: str | None = _knob("admin_socket")
    drain: int = _knob("drain")

    nofile: int | Literal["auto"] = _knob("nofile")
    max_conns: int = _knob("max_conns")
    reuseport: bool = _knob("reuseport")
    backlog: int = _knob("backlog")
    accept_batch: int = _knob("accept_batch")
    tcp_nodelay: bool = _knob("tcp_nodelay")
    tcp_keepalive: int = _knob("tcp_keepalive")
    tcp_user_timeout: int = _knob("tcp_user_timeout")
    tcp_notsent_lowat: int = _knob("tcp_notsent_lowat")

    keepalive: int = _knob("keepalive")
    keepalive_requests: int = _knob("keepalive_requests")
    half_close: bool = _knob("half_close")
    trace: bool = _knob("trace")
    header_timeout: int = _knob("header_timeout")
    body_timeout: int = _knob("body_timeout")
    min_rate: int = _knob("min_rate")
    send_timeout: int = _knob("send_timeout")
    min_send_rate: int = _knob("min_send_rate")
    lingering_time: int = _knob("lingering_time")
    lingering_timeout: int = _knob("lingering_timeout")
    max_header: int = _knob("max_header")
    max_headers: int = _knob("max_headers")
    max_target: int = _knob("max_target", factory=_head_or_less)
    max_body: int = _knob("max_body")
    buffer_response: int = _knob("buffer_response")

    connect_timeout: int = _knob("connect_timeout")
    upstream_timeout: int = _knob("upstream_timeout")
    between_timeout: int = _knob("between_timeout")
    tunnel_timeout: int = _knob("tunnel_timeout")
    deadline: int = _knob("deadline")
    max_response_header: int = _knob("max_response_header")
    max_response_headers: int = _knob("max_response_headers")
    buffer_request: int = _knob("buffer_request")
    retries: int = _knob("retries")
    retry_budget: int = _knob("retry_budget")
    upstream_pool: int = _knob("upstream_pool")
    upstream_idle: int = _knob("upstream_idle")
    upstream_max: int = _knob("upstream_max")
    queue: int = _knob("queue")
    queue_timeout: int = _knob("queue_timeout")
    eject: str = _knob("eject")

    access_log: str = _knob("access_log")
    access_log_format: Literal["combined", "combined-plus", "json"] = _knob(
        "access_log_format"
    )
    access_log_buffer: int = _knob("access_log_buffer")
    access_log_flush: int = _knob("access_log_flush")
    error_log: str = _knob("error_log")
    log_level: Literal["debug", "info", "warning", "error"] = _knob("log_level")

    server_header: str = _knob("server_header")
    via: bool = _knob("via")
    forwarded: bool = _knob("forwarded")
    x_forwarded: bool = _knob("x_forwarded")
    request_id: bool = _knob("request_id")
    trusted_proxies: tuple[str, ...] = _knob("trusted_proxies")
    underscores: Literal["safe", "drop", "pass"] = _knob("underscores")
    ambiguous_paths: Literal["routes", "reject", "keep"] = _knob("ambiguous_paths")

    @property
    def eject_failures(self) -> int:
        """Failed requests in a row that eject an endpoint; 0 = never."""
        return parse_eject(self.eject)[0]

    @property
    def eject_for(self) -> int:
        """How long an endpoint is skipped, ms."""
        return parse_eject(self.eject)[1]

    @field_validator("max_conns")
    @classmethod
    def _fits_the_files(cls, max_conns: int, info: ValidationInfo) -> int:
        nofile = info.data.get("nofile", "auto")
        if nofile != "auto" and max_conns > nofile:
            raise fault(
                f"{max_conns} connections per worker need more open files than"
                f" nofile = {nofile}"
            )
        return max_conns

    @field_validator("max_target")
    @classmethod
    def _fits_the_head(cls, max_target: int, info: ValidationInfo) -> int:
        max_header = info.data.get("max_header")
        if max_header is not None and max_target > max_header:
            raise fault(
                f"{max_target} bytes are more than the whole head may have"
                f" (max_header = {max_header})"
            )
        return max_target

    @field_validator("server_header")
    @classmethod
    def _is_a_header_value(cls, text: str) -> str:
        check_header_value("Server", text)
        return text


def _check_listener_address(raw: object) -> str:
    try:
        return str(parse_address(raw, listening=True))
    except BadValueError as bad:
        raise fault(str(bad), bad.suggestion) from None


_ListenerAddress = Annotated[
    str, BeforeValidator(_check_listener_address), WithJsonSchema({"type": "string"})
]


class Listener(_Settings):
    """One or more addresses that clients connect to.

    `address` in a file is one element of `addresses`.
    """

    addresses: tuple[_ListenerAddress, ...] = Field(
        description='"host:port", "[::]:port", ":port" (every IPv4 address) or'
        ' "unix:/path"; `address` for a single one',
    )
    protocol: Literal["http"] = Field(
        default="http", description="what clients speak (default: http)"
    )

    @model_validator(mode="before")
    @classmethod
    def _take_one_address(cls, raw: Any) -> Any:
        # With both given `address` stays and is refused as the second.
        if isinstance(raw, dict) and "address" in raw and "addresses" not in raw:
            raw = {**raw, "addresses": [raw["address"]]}
            del raw["address"]
        return raw

    @field_validator("addresses", mode="before")
    @classmethod
    def _read_addresses(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return tuple(part for part in raw.split(",") if part.strip())
        return raw

    @field_validator("addresses")
    @classmethod
    def _is_somewhere(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if not addresses:
            raise fault("is empty: a listener needs an address")
        return addresses

    @field_validator("protocol", mode="before")
    @classmethod
    def _check_protocol(cls, raw: Any) -> str:
        return _choice(("http",), raw)


def _choice(choices: tuple[str, ...], raw: object) -> str:
    try:
        return read_choice(choices, raw)
    except BadValueError as bad:
        raise fault(str(bad), bad.suggestion) from None


class Endpoint(_Settings):
    """One address of an upstream. `"host:port;weight=3"` is a short form."""

    address: str = Field(description='"host:port", "[::1]:port" or "unix:/path"')
    weight: int = Field(
        default=1,
        description="share of the requests, 1..256 (default: 1)",
        json_schema_extra={"minimum": 1, "maximum": WEIGHT},
    )

    @model_validator(mode="before")
    @classmethod
    def _take_short_form(cls, raw: Any) -> Any:
        if not isinstance(raw, str):
            return raw
        if " " in raw.strip() and ";" not in raw:
            # As nginx writes it.
            meant = ";".join(raw.split())
            raise fault(f"{show(raw)} is not an address: write host:port", meant)
        address, *parameters = raw.split(";")
        fields: dict[str, Any] = {"address": address}
        for parameter in parameters:
            key, equals, value = parameter.strip().partition("=")
            if key.strip() != "weight" or not equals:
                raise fault(
                    f"{show(parameter)} in {show(raw)} is not ';weight=N'",
                    "weight" if nearest(key, ["weight"]) else None,
                )
            fields["weight"] = value
        return fields

    @field_validator("address", mode="before")
    @classmethod
    def _check_address(cls, raw: Any) -> str:
        try:
            return str(parse_address(raw, listening=False))
        except BadValueError as bad:
            raise fault(str(bad), bad.suggestion) from None

    @field_validator("weight", mode="before")
    @classmethod
    def _check_weight(cls, raw: Any) -> int:
        try:
            weight = -1 if is_below_zero(raw, parse_count) else parse_count(raw)
        except BadValueError as bad:
            raise fault(str(bad)) from None
        if not 1 <= weight <= WEIGHT:
            raise fault(f"{show(raw)} is outside 1..{WEIGHT}")
        return weight


class Upstream(_Settings):
    """A named pool of endpoints; None in a setting means the gateway's value."""

    balance: Literal[
        "round-robin",
        "least-connections",
        "random-two",
        "ip-hash",
        "hash",
        "least-time",
    ] = Field(
        default="round-robin",
        description="how an endpoint is picked: round-robin, least-connections,"
        " random-two, ip-hash, hash or least-time (default: round-robin)",
    )
    hash_key: Annotated[str, AfterValidator(check_hash_key)] = Field(
        default="client",
        description="what balance = hash hashes: client, path, header:NAME,"
        " cookie:NAME or query:NAME; by client where NAME is missing"
        " (default: client)",
    )
    hash_bound: int = Field(
        default=0,
        description="most load of one endpoint under balance = hash, as a share of"
        " the mean: what is above goes elsewhere, so not for sessions; 0: no bound"
        " (default: 0)",
        json_schema_extra={"type": ["string", "integer"]},
    )
    endpoints: tuple[Endpoint, ...] = Field(description="where requests go")
    lenient: bool = Field(
        default=False,
        description="also take answers whose lines end in a bare LF, folded fields"
        " and blanks behind a chunk's size (default: off)",
        json_schema_extra={"type": ["boolean", "string"]},
    )

    connect_timeout: int | None = _knob("connect_timeout", overrides=True)
    upstream_timeout: int | None = _knob("upstream_timeout", overrides=True)
    between_timeout: int | None = _knob("between_timeout", overrides=True)
    tunnel_timeout: int | None = _knob("tunnel_timeout", overrides=True)
    deadline: int | None = _knob("deadline", overrides=True)
    buffer_request: int | None = _knob("buffer_request", overrides=True)
    retries: int | None = _knob("retries", overrides=True)
    retry_budget: int | None = _knob("retry_budget", overrides=True)
    upstream_pool: int | None = _knob("upstream_pool", overrides=True)
    upstream_idle: int | None = _knob("upstream_idle", overrides=True)
    upstream_max: int | None = _knob("upstream_max", overrides=True)
    queue: int | None = _knob("queue", overrides=True)
    queue_timeout: int | None = _knob("queue_timeout", overrides=True)
    eject: str | None = _knob("eject", overrides=True)

    @property
    def eject_failures(self) -> int | None:
        """Failed requests in a row that eject an endpoint; 0 = never."""
        return _eject_failures(self.eject)

    @property
    def eject_for(self) -> int | None:
        """How long an endpoint is skipped, ms."""
        return _eject_for_ms(self.eject)

    @field_validator("balance", mode="before")
    @classmethod
    def _check_balance(cls, raw: Any) -> str:
        return _choice(BALANCES, raw)

    @field_validator("lenient", mode="before")
    @classmethod
    def _check_lenient(cls, raw: Any) -> bool:
        try:
            return parse_switch(raw)
        except BadValueError as bad:
            raise fault(str(bad), bad.suggestion) from None

    @field_validator("hash_bound", mode="before")
    @classmethod
    def _check_hash_bound(cls, raw: Any) -> int:
        try:
            percent = -1 if is_below_zero(raw, parse_percent) else parse_percent(raw)
        except BadValueError as bad:
            raise fault(str(bad)) from None
        if percent and not 100 <= percent <= 10_000:
            raise fault(f"{show(raw)} is outside 100%..10000%, or 0: no bound")
        return percent

    @field_validator("hash_key", "hash_bound")
    @classmethod
    def _belongs_to_hash(cls, value: Any, info: ValidationInfo) -> Any:
        balance = info.data.get("balance", "hash")
        if balance != "hash":
            raise fault(
                f"means nothing with balance = {show(balance)}, only with 'hash'"
            )
        return value

    @field_validator("endpoints", mode="before")
    @classmethod
    def _read_endpoints(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return tuple(part for part in raw.split(",") if part.strip())
        return raw

    @field_validator("endpoints")
    @classmethod
    def _is_not_empty(cls, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        if not endpoints:
            raise fault("is empty: an upstream needs an endpoint")
        return endpoints


class Match(_Settings):
    """Which requests a route takes; every key given must agree."""

    host: Annotated[str, AfterValidator(check_route_host)] | None = Field(
        default=None, description='exact, or "*.example.com" (default: any)'
    )
    path: Annotated[str, AfterValidator(check_path)] | None = Field(
        default=None, description="the whole path (default: any)"
    )
    path_prefix: Annotated[str, AfterValidator(check_path)] | None = Field(
        default=None, description="the beginning of the path (default: any)"
    )

    @field_validator("path_prefix")
    @classmethod
    def _is_alone(cls, prefix: str | None, info: ValidationInfo) -> str | None:
        path = info.data.get("path")
        if prefix is not None and path is not None:
            raise fault(f"contradicts path = {show(path)}: give one of the two")
        return prefix


_HeaderTable = Annotated[dict[str, str], BeforeValidator(check_header_table)]
_HeaderName = Annotated[
    str, BeforeValidator(check_header_name), WithJsonSchema({"type": "string"})
]


class HeaderRules(_Settings):
    """Changes to a head: `remove` first, then `set` (replaces), then `add`."""

    # `set` in the class body would shadow the type for later annotations, so
    # it stands after them.
    add: _HeaderTable = Field(default={}, description="fields added beside others")
    remove: tuple[_HeaderName, ...] = Field(
        default=(), description="names of fields taken out"
    )
    set: _HeaderTable = Field(
        default={}, description="fields that replace any of that name"
    )

    @field_validator("set")
    @classmethod
    def _is_one_rule(
        cls, table: dict[str, str], info: ValidationInfo
    ) -> dict[str, str]:
        removed = {name.lower() for name in info.data.get("remove", ())}
        added = {name.lower() for name in info.data.get("add", ())}
        found: list[Fault] = []
        for name in table:
            if name.lower() in removed:
                text = f"{show(name)} is in remove as well: set already replaces"
                found.append(Fault(name, text))
            if name.lower() in added:
                text = f"{show(name)} is in add as well: give one of the two"
                found.append(Fault(name, text))
        raise_all(found)
        return table

    @model_validator(mode="after")
    def _has_room(self) -> "HeaderRules":
        rules = len(self.remove) + len(self.set) + len(self.add)
        if rules > HEADER_RULES:
            raise fault(f"{rules} rules are more than {HEADER_RULES}")
        return self


Name = Annotated[str, BeforeValidator(check_name), WithJsonSchema({"type": "string"})]


class Route(_Settings):
    """Requests that match go to an upstream."""

    name: Name = Field(description="its name in logs and metrics")
    match: Match = Field(default=Match(), description="which requests (default: all)")
    upstream: str = Field(description="name of the upstream they go to")
    host: Annotated[str, AfterValidator(check_upstream_host)] = Field(
        default="keep",
        description="Host sent upstream: keep (the client's), upstream (the address"
        " of its first endpoint) or a literal (default: keep)",
    )
    request_headers: HeaderRules = Field(
        default=HeaderRules(), description="changes to the request's head"
    )
    response_headers: HeaderRules = Field(
        default=HeaderRules(), description="changes to the response's head"
    )

    max_body: int | None = _knob("max_body", overrides=True)
    deadline: int | None = _knob("deadline", overrides=True)
    ambiguous_paths: Literal["routes", "reject", "keep"] | None = _knob(
        "ambiguous_paths", overrides=True
    )


class Config(_Settings):
    """A whole configuration, checked in itself and across its tables."""

    gateway: Gateway = Field(default_factory=Gateway, description="see [gateway]")
    listeners: dict[Name, Listener] = Field(
        default={}, description="[listeners.NAME]: where clients connect"
    )
    upstreams: dict[Name, Upstream] = Field(
        default={}, description="[upstreams.NAME]: where requests go"
    )
    routes: tuple[Route, ...] = Field(
        default=(), description="[[routes]]: which requests go where"
    )

    @model_validator(mode="after")
    def _check_across(self) -> "Config":
        views = [
            RouteView(
                r.name,
                r.upstream,
                r.match,
                r.request_headers,
                r.response_headers,
                r.ambiguous_paths,
            )
            for r in self.routes
        ]
        findings = list(
            cross_check(self.gateway, self.listeners, self.upstreams, views)
        )
        if findings:
            text = "; ".join(finding.message for finding in findings)
            raise PydanticCustomError("fastgate_across", "{text}", {"text": text})
        return self


class RouteView(NamedTuple):
    """What of a route the cross checks read; None where it cannot be read."""

    name: str | None
    upstream: str | None
    match: Match | None
    request_headers: HeaderRules | None
    response_headers: HeaderRules | None
    ambiguous_paths: str | None


def cross_check(
    gateway: Gateway | None,
    listeners: Mapping[str, Listener | None],
    upstreams: Mapping[str, Upstream | None],
    routes: Sequence[RouteView],
) -> Iterator[Finding]:
    """Find what is wrong between tables; None stands for a table wrong in itself.

    Yields Finding, in no particular order. Never raises.
    """
    if not listeners:
        message = "nothing to listen on: add [listeners.NAME] or --listen ADDRESS"
        yield Finding((), message)
    if not routes:
        yield Finding((), "no route: add [[routes]] or --upstream ADDRESS")
    yield from check_addresses(listeners)
    yield from _check_endpoints_once(upstreams)
    yield from check_loops(listeners, upstreams)
    yield from check_counts(upstreams)
    if gateway is not None:
        rules = [(route.request_headers, route.response_headers) for route in routes]
        yield from check_heads(gateway, rules)
    setting = gateway.ambiguous_paths if gateway is not None else "keep"
    names: dict[str, int] = {}
    matches: dict[tuple[str | None, ...], int] = {}
    for index, route in enumerate(routes):
        if route.upstream is not None and route.upstream not in upstreams:
            message = f"there is no upstream {show(route.upstream)}"
            suggestion = nearest(route.upstream, list(upstreams))
            yield Finding(("routes", index, "upstream"), message, suggestion)
        if route.name is not None and names.setdefault(route.name, index) != index:
            message = f"a second route is named {show(route.name)}"
            yield Finding(("routes", index, "name"), message)
        if route.match is None:
            continue
        match = route.match
        yield from _check_it_can_match(index, match, route.ambiguous_paths or setting)
        prefix = None if match.path_prefix == "/" else match.path_prefix
        key = (match.host, match.path, prefix)
        earlier = matches.setdefault(key, index)
        if earlier != index:
            other = routes[earlier].name
            named = f"route {show(other)}" if other else f"route number {earlier + 1}"
            yield Finding(
                ("routes", index, "match"),
                f"matches the same requests as {named}, which comes first",
            )


def _check_it_can_match(
    index: int, match: Match, ambiguous_paths: str
) -> Iterator[Finding]:
    for key in ("path", "path_prefix"):
        path: str | None = getattr(match, key)
        never = None if path is None else never_matched(path, ambiguous_paths)
        if never is not None:
            yield Finding(("routes", index, "match", key), *never)


def _check_endpoints_once(
    upstreams: Mapping[str, Upstream | None],
) -> Iterator[Finding]:
    for name, upstream in upstreams.items():
        seen: set[str] = set()
        for index, endpoint in enumerate(upstream.endpoints if upstream else ()):
            if endpoint.address in seen:
                yield Finding(
                    ("upstreams", name, "endpoints", index),
                    f"{show(endpoint.address)} is listed twice: use weight",
                )
            seen.add(endpoint.address)


def inherited(key: str, *layers: BaseModel | None) -> Any:
    """Give a setting from the first layer that has it, most specific first.

    `inherited("deadline", route, upstream, config.gateway)`. A layer without
    the key, or None, is passed over. Raises KeyError if none has it.
    """
    for layer in layers:
        value = getattr(layer, key, None)
        if value is not None:
            return value
    raise KeyError(key)
