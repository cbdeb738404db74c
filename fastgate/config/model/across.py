"""Checks between tables: what each of them may say, and all of them together not.

Runs in: every process (imported only where configuration is read).

`cross_check` runs them all: names and matches, loops of the gateway to itself, and
whether heads and tables have room for what the rules and lists ask.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from os.path import realpath
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from fastgate.config import bounds, machine
from fastgate.config.address import Address, parse_address
from fastgate.config.match import check_path, never_matched
from fastgate.config.model.answers import Redirect
from fastgate.config.model.gateway import Gateway
from fastgate.config.model.listener import Listener
from fastgate.config.model.route import HeaderRules, Match
from fastgate.config.model.upstream import Upstream
from fastgate.config.redirect import Place, place_of
from fastgate.config.units import nearest, show


class Finding(NamedTuple):
    """A contradiction between values: the key path, what is wrong, what was meant."""

    path: tuple[str | int, ...]
    message: str
    suggestion: str | None = None


# -- everything


class RouteView(NamedTuple):
    """What of a route the cross checks read; None where it cannot be read."""

    name: str | None
    upstream: str | None
    match: Match | None
    request_headers: HeaderRules | None
    response_headers: HeaderRules | None
    ambiguous_paths: str | None
    redirect: Redirect | None


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
    for index, sure in redirects_to_themselves(listeners, routes):
        if sure:
            message = "leads back to this route: clients would go round in it"
            yield Finding(("routes", index, "redirect", "to"), message)
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


# -- loops

_Ip = IPv4Address | IPv6Address


def _ip(host: str) -> _Ip | None:
    """Give the address that connecting to a literal reaches; None for a name."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _loopback(found: _Ip) -> _Ip:
    """Give what the kernel takes `0.0.0.0` and `::` for when it connects."""
    if not found.is_unspecified:
        return found
    return IPv4Address("127.0.0.1") if found.version == 4 else IPv6Address("::1")


def covers(listener: Address, endpoint: Address) -> bool:
    """Say whether a connection to `endpoint` arrives at `listener`.

    Names are compared as texts: nothing is resolved here.
    """
    if listener.path is not None or endpoint.path is not None:
        if listener.path is None or endpoint.path is None:
            return False
        return realpath(listener.path) == realpath(endpoint.path)
    if listener.port != endpoint.port:
        return False
    place, target = _ip(listener.host), _ip(endpoint.host)
    if place is None or target is None:
        return listener.host == endpoint.host
    target = _loopback(target)
    if not place.is_unspecified:
        return place == target
    # A listener on `::` takes IPv6 alone (IPV6_V6ONLY).
    is_here = target.is_loopback or str(target) in machine.own_addresses()
    return place.version == target.version and is_here


def check_loops(
    listeners: Mapping[str, Listener | None],
    upstreams: Mapping[str, Upstream | None],
) -> Iterator[Finding]:
    """Find endpoints that are listeners of this gateway, as far as texts tell."""
    places = [
        (name, parse_address(text, listening=True))
        for name, listener in listeners.items()
        for text in (listener.addresses if listener else ())
    ]
    for name, upstream in upstreams.items():
        for index, endpoint in enumerate(upstream.endpoints if upstream else ()):
            address = parse_address(endpoint.address, listening=False)
            for owner, place in places:
                if covers(place, address):
                    path = ("upstreams", name, "endpoints", index)
                    yield Finding(path, loop_message(endpoint.address, owner))
                    break


def loop_message(endpoint: str, listener: str) -> str:
    """Say that an endpoint is a listener of the gateway that asks it."""
    return (
        f"{show(endpoint)} is this gateway's own listener {show(listener)}:"
        " requests would go round until descriptors are gone"
    )


# -- redirects


def redirects_to_themselves(
    listeners: Mapping[str, Listener | None], routes: Sequence[RouteView]
) -> Iterator[tuple[int, bool]]:
    """Find redirects whose client comes back to the route that sent it.

    Yields the index of each such route, and whether its client surely does: not
    where that hangs on the port, which is that of some listeners, or that of the
    scheme and none of ours unless somebody maps it.
    """
    matches = [route.match for route in routes if route.match is not None]
    ports: list[tuple[str, int | None]] = []
    if len(matches) < len(routes):
        return
    for listener in listeners.values():
        if listener is None:
            return
        for text in listener.addresses:
            address = parse_address(text, listening=True)
            port = None if address.is_unix else address.port
            ports.append((listener.protocol, port))
    for index, route in enumerate(routes):
        if route.redirect is None or route.match is None:
            continue
        place = place_of(route.redirect.to)
        others = matches[:index] + matches[index + 1 :]
        known = {None, "{scheme}", *(protocol for protocol, _ in ports)}
        back = [_arrives(place, protocol, port) for protocol, port in ports]
        if (
            place.scheme in known
            and (place.port is None or any(back))
            and _takes_host(route.match, place.host, others)
            and _takes_path(route.match, place.path, others)
        ):
            yield index, all(back)


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _arrives(place: Place, protocol: str, port: int | None) -> bool:
    """Say whether who came to this port, of this protocol, is sent there again."""
    if place.scheme is None:
        return True
    scheme = protocol if place.scheme == "{scheme}" else place.scheme
    return (protocol, port) == (scheme, place.port or _DEFAULT_PORTS[scheme])


def _takes_host(match: Match, host: str | None, others: Sequence[Match]) -> bool:
    """Say whether a redirect of this route leads to a host of its own.

    A route for any host does not say that every host leads here.
    """
    if host is None or host == "{host}":
        return True

    def takes(pattern: str | None) -> bool:
        if pattern is None or not pattern.startswith("*."):
            return pattern == host
        return host.endswith(pattern[1:])

    nearer = (other.host for other in others if other.host != match.host)
    return takes(match.host) and not any(map(takes, nearer))


def _takes_path(match: Match, written: str, others: Sequence[Match]) -> bool:
    """Likewise to a path; whatever another route might take is not its own."""
    if "{" in written:
        return written == "{path}"
    try:
        path = check_path(written)
    except PydanticCustomError:
        return False

    def weight(one: Match) -> int:
        """Give how near a match is: the longer, the nearer; negative: not at all."""
        if one.path is not None:
            return len(path) + 1 if one.path == path else -1
        prefix = one.path_prefix or "/"
        inside = prefix if prefix.endswith("/") else f"{prefix}/"
        return len(prefix) if path == prefix or path.startswith(inside) else -1

    own = weight(match)
    return own >= 0 and own > max(map(weight, others), default=-1)


# -- addresses


def _overlaps(one: Address, other: Address) -> bool:
    """Say whether two listeners of one port would be in each other's way."""
    first, second = _ip(one.host), _ip(other.host)
    if first is None or second is None:
        return one.host == other.host
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def check_addresses(
    listeners: Mapping[str, Listener | None],
) -> Iterator[Finding]:
    """Find addresses that are listened on twice, also by way of `0.0.0.0`."""
    taken: dict[int | str, list[tuple[str, Address]]] = {}
    for name, listener in listeners.items():
        for index, text in enumerate(listener.addresses if listener else ()):
            address = parse_address(text, listening=True)
            if address.path is None and address.port == 0:
                continue  # the kernel chooses, so they differ
            key = address.port if address.path is None else realpath(address.path)
            earlier = taken.setdefault(key, [])
            for owner, other in earlier:
                if address.path is not None or _overlaps(address, other):
                    by = "" if address == other else f" as {show(str(other))}"
                    yield Finding(
                        ("listeners", name, "addresses", index),
                        f"{show(text)} is already listened on by {show(owner)}{by}",
                    )
                    break
            earlier.append((name, address))


# -- warnings


def warnings(
    gateway: Gateway, listeners: Mapping[str, Listener], routes: Sequence[RouteView]
) -> Iterator[Finding]:
    """Find what is allowed and may yet be a mistake, in a sound configuration."""
    addresses = [text for one in listeners.values() for text in one.addresses]
    has_unix = any(text.startswith("unix:") for text in addresses)
    if "unix" in gateway.trusted_proxies and not has_unix:
        yield Finding(
            ("gateway", "trusted_proxies"),
            "'unix' trusts nobody: no listener's address is a Unix socket",
        )
    for index, _ in redirects_to_themselves(listeners, routes):
        yield Finding(
            ("routes", index, "redirect", "to"),
            "may lead back to this route: its port is not that of every listener",
        )


# -- room


def check_counts(upstreams: Mapping[str, Upstream | None]) -> Iterator[Finding]:
    """Find more endpoints than the shared memory has slots for."""
    count = 0
    for name, upstream in upstreams.items():
        count += len(upstream.endpoints) if upstream else 0
        if count > bounds.ENDPOINTS:
            path = ("upstreams", name, "endpoints")
            message = f"more than {bounds.ENDPOINTS} endpoints in all upstreams"
            yield Finding(path, message)
            return


def check_heads(
    gateway: Gateway,
    routes: Sequence[tuple[HeaderRules | None, HeaderRules | None]],
) -> Iterator[Finding]:
    """Find rules that a head of the largest size would have no room for.

    routes  (request_headers, response_headers) of each
    """
    request_room = (
        bounds.REQUEST_HEAD_BYTES - bounds.OWN_REQUEST_BYTES - gateway.max_header
    )
    response_room = (
        bounds.RESPONSE_HEAD_BYTES
        - bounds.OWN_RESPONSE_BYTES
        - len(gateway.server_header.encode())
        - gateway.max_response_header
    )
    for index, (request, response) in enumerate(routes):
        for key, rules, room, limit in (
            ("request_headers", request, request_room, "max_header"),
            ("response_headers", response, response_room, "max_response_header"),
        ):
            size = _rules_bytes(rules) if rules else 0
            if size > room:
                yield Finding(
                    ("routes", index, key),
                    f"{size} bytes of fields are more than the {room} that a head of"
                    f" {limit} = {getattr(gateway, limit)} bytes leaves room for",
                )


def _rules_bytes(rules: HeaderRules) -> int:
    """Give what the fields of `set` and `add` take in a head."""
    pairs = [*rules.set.items(), *rules.add.items()]
    return sum(len(name) + len(value.encode()) + 4 for name, value in pairs)
