"""The one place where names become indexes: Config to what `_core.Plan` takes.

Runs in: master.

A host name of an endpoint that cannot be resolved is a down endpoint and a line in
the error log, not a failure to start.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from fastgate.config import machine
from fastgate.config.address import Address, parse_address
from fastgate.config.knob import parse_eject
from fastgate.config.knobs import KNOBS
from fastgate.config.redirect import parse_target
from fastgate.control.logs import Log
from fastgate.control.pages import Pages
from fastgate.control.resolve import Names

if TYPE_CHECKING:
    from fastgate.config.model import (
        Config,
        Endpoint,
        Gateway,
        HeaderRules,
        Retry,
        Route,
        Upstream,
    )
    from fastgate.control.sockets import BoundListener

# How a route's requests are answered: the data plane's numbers.
UPSTREAM, RESPOND, REDIRECT = range(3)

_FAMILIES = {int(socket.AF_INET): "inet", int(socket.AF_INET6): "inet6"}


@dataclass(frozen=True, slots=True)
class PlanValues:
    """The arguments of `_core.Plan`, plain values throughout, and the endpoints."""

    gateway: dict[str, Any]
    listeners: list[dict[str, Any]]
    upstreams: list[dict[str, Any]]
    routes: list[dict[str, Any]]

    @property
    def endpoints(self) -> list[dict[str, Any]]:
        """Every endpoint. Its `index`, its slot, is given by Membership."""
        return [e for upstream in self.upstreams for e in upstream["endpoints"]]


def make_plan(
    config: "Config",
    bound: "Iterable[BoundListener]",
    log: Log,
    names: Names | None = None,
) -> PlanValues:
    """Turn a configuration and what was bound for it into plain values.

    names  what the hosts of endpoints stand for; without it they are asked for here
    Raises StartError for an error page that cannot be read.
    """
    names = Names() if names is None else names
    upstreams: list[dict[str, Any]] = []
    for name, upstream in config.upstreams.items():
        values = _upstream(name, upstream, config.gateway)
        values["endpoints"] = [
            _endpoint(name, endpoint, names, log) for endpoint in upstream.endpoints
        ]
        upstreams.append(values)
    indexes = {name: index for index, name in enumerate(config.upstreams)}
    listeners = [_listener(listener, config) for listener in bound]
    pages = Pages(config.gateway.error_pages)
    return PlanValues(
        gateway=_gateway(config.gateway, listeners, pages),
        listeners=listeners,
        upstreams=upstreams,
        routes=[_route(route, config, indexes, pages) for route in config.routes],
    )


def _gateway(
    gateway: "Gateway", listeners: list[dict[str, Any]], pages: Pages
) -> dict[str, Any]:
    values = gateway.model_dump()
    values["error_pages"] = pages.common
    values["pages"] = pages.read  # the routes' are still to come
    if gateway.via_name == "auto":
        values["via_name"] = _hop_name([str(one["address"]) for one in listeners])
    values["trusted_proxies"] = list(gateway.trusted_proxies)
    return values


def _hop_name(addresses: list[str]) -> str:
    """Make the name of this gateway in Via (RFC 9110 section 7.6.3).

    Two gateways that share a name would take each other for a loop, so it is made
    of where this one is and what it listens on. It is the same in every worker and
    in whoever takes over the listeners, and as a digest tells nobody either.

    addresses  that listeners are bound to, with the ports that the kernel chose
    """
    text = "\n".join([machine.identity(), *sorted(addresses)])
    return f"fastgate-{sha256(text.encode()).hexdigest()[:12]}"


def _listener(bound: "BoundListener", config: "Config") -> dict[str, Any]:
    listener = config.listeners[bound.name]
    settings = _overridden("listener", listener, config.gateway)
    return {**bound.describe(), **settings}


def _upstream(name: str, upstream: "Upstream", gateway: "Gateway") -> dict[str, Any]:
    settings = _overridden("upstream", upstream, gateway)
    failures, for_ms = parse_eject(settings.pop("eject"))
    return {
        "name": name,
        "balance": upstream.balance,
        "hash_key": upstream.hash_key,
        "hash_bound": upstream.hash_bound,
        "slow_start": upstream.slow_start,
        "lenient": upstream.lenient,
        "eject_failures": failures,
        "eject_for": for_ms,
        "health": upstream.health,
        **settings,
        **_retry(upstream.retry, settings),
    }


def _retry(retry: "Retry", settings: dict[str, Any]) -> dict[str, Any]:
    """Give when a request is sent again; two knobs hold where `retry` is silent."""
    tries, budget = retry.tries, retry.budget
    return {
        "retry_on": list(retry.on),
        "retries": settings["retries"] if tries is None else tries,
        "retry_backoff": retry.backoff,
        "retry_budget": settings["retry_budget"] if budget is None else budget,
        "retry_methods": retry.methods,
        "per_try": retry.per_try,
    }


def _endpoint(
    upstream: str, endpoint: "Endpoint", names: Names, log: Log
) -> dict[str, Any]:
    place = _resolve(upstream, endpoint.address, names, log)
    return {
        "address": endpoint.address,
        **place._asdict(),
        "weight": endpoint.weight,
        "up": place.host is not None,
    }


class _Place(NamedTuple):
    """Where an endpoint is.

    family  inet, inet6 or unix
    host    a literal or a path; None: unknown
    scope   the interface of an IPv6 zone, by its index; 0: none
    """

    family: str
    host: str | None
    port: int
    scope: int = 0


def _resolve(upstream: str, text: str, names: Names, log: Log) -> _Place:
    """Give the place of an endpoint; one that is unknown is a line in the log."""
    address = parse_address(text, listening=False)
    if address.path is not None:
        return _Place("unix", address.path, 0)
    found = names[address.host]
    if not found.places:
        log.alert(
            f"upstream {upstream}: cannot resolve {address.host}: {found.why};"
            f" endpoint {text} is down until the next start or reload"
        )
        return _Place("inet", None, address.port)
    # A service started on "localhost" listens on IPv4 more often than on ::1.
    family, host = min(found.places, key=lambda place: place[0] != socket.AF_INET)
    literal, _, zone = host.partition("%")
    return _Place(_FAMILIES[family], literal, address.port, int(zone or 0))


def _route(
    route: "Route", config: "Config", upstream_indexes: dict[str, int], pages: Pages
) -> dict[str, Any]:
    match = route.match
    is_exact = match.path is not None
    layers: list[object] = [route, config.gateway]
    upstream_index, set_host = -1, None
    if route.upstream is not None:
        upstream = config.upstreams[route.upstream]
        layers.insert(1, upstream)
        upstream_index = upstream_indexes[route.upstream]
        set_host = _set_host(route.host, upstream.endpoints[0].address)
    return {
        "name": route.name,
        "host": match.host,
        "kind": "exact" if is_exact else "prefix",
        "path": (match.path if is_exact else match.path_prefix) or "/",
        "upstream": upstream_index,
        "set_host": set_host,
        "request_rules": _rules(route.request_headers),
        "response_rules": _rules(route.response_headers),
        **_answer(route),
        "error_pages": pages.of(route.error_pages),
        **_overridden("route", *layers),
    }


def _answer(route: "Route") -> dict[str, Any]:
    """Give how a route's requests are answered.

    answer        UPSTREAM, RESPOND or REDIRECT
    status        of the answer; 0: the upstream's
    body          None: what the gateway says of that status, error pages with it
    content_type  of the body
    location      pieces of the redirect's URL: bytes, and numbers of placeholders
    """
    values: dict[str, Any] = {
        "answer": UPSTREAM,
        "status": 0,
        "body": None,
        "content_type": None,
        "location": [],
    }
    if route.respond is not None:
        status, body = route.respond.status, route.respond.body
        if body is None and status < 400:
            body = ""
        values.update(answer=RESPOND, status=status)
        if body is not None:
            values.update(body=body.encode())
        if body:
            values.update(content_type=route.respond.content_type)
    elif route.redirect is not None:
        pieces = [
            piece.encode() if isinstance(piece, str) else piece
            for piece in parse_target(route.redirect.to)
        ]
        values.update(answer=REDIRECT, status=route.redirect.status, location=pieces)
    return values


def _set_host(host: str, first_endpoint: str) -> str | None:
    """Give the Host sent upstream; None keeps the client's."""
    if host == "keep":
        return None
    if host != "upstream":
        return host
    address: Address = parse_address(first_endpoint, listening=False)
    # A path is no host (RFC 9110 7.2); `localhost` is what curl sends too.
    if address.is_unix:
        return "localhost"
    # A zone means something on this machine only (RFC 6874 section 4).
    return str(address._replace(host=address.host.partition("%")[0]))


def _rules(rules: "HeaderRules") -> list[tuple[str, str, str]]:
    """Give (op, name, value) in the order in which they are carried out."""
    return [
        *(("remove", name, "") for name in rules.remove),
        *(("set", name, value) for name, value in rules.set.items()),
        *(("add", name, value) for name, value in rules.add.items()),
    ]


def _overridden(scope: str, *layers: object) -> dict[str, Any]:
    """Give every setting that tables of a scope may override, each as it holds here."""
    scoped = (key for key, knob in KNOBS.items() if scope in knob.scopes)
    return {key: inherited(key, *layers) for key in scoped}


def inherited(key: str, *layers: object) -> Any:
    """Give a setting from the first layer that has it, most specific first.

    `inherited("deadline", route, upstream, config.gateway)`. A layer without
    the key, or None, is passed over. Raises KeyError if none has it.
    """
    for layer in layers:
        value = getattr(layer, key, None)
        if value is not None:
            return value
    raise KeyError(key)
