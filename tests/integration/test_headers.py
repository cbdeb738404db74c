"""What the gateway adds, rebuilds, takes away and lets through."""

from __future__ import annotations

import re

import pytest
from support import addresses
from support.client import fetch, request
from support.gateway import Gateway
from support.origin import Origin, Request, always, response, serve
from support.rig import Rig

# Names under which some service somewhere believes who the client is.
ALIASES = [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-By",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "Forwarded",
    "X-Real-IP",
    "X_Forwarded_For",
    "X_Forwarded_Proto",
    "X_Forwarded_Host",
    "X_Real_IP",
    "X-Forwarded_For",
    "X-Forwarded",
    "Forwarded-For",
    "X-Client-IP",
    "Client-IP",
    "True-Client-IP",
    "X-True-Client-IP",
    "X-Cluster-Client-IP",
    "X-Originating-IP",
    "X-Remote-IP",
    "X-Remote-Addr",
    "X-Original-Forwarded-For",
    "X-ProxyUser-Ip",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Envoy-External-Address",
    "WL-Proxy-Client-IP",
    "Proxy-Client-IP",
    "X-Azure-ClientIP",
    "X-Original-Host",
    "X-Host",
    "X-Original-URL",
    "X-Rewrite-URL",
]


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    return module_rig.gateway(module_rig.origin())


def seen(rig: Rig) -> Request:
    """The one request that reached the upstream since it last forgot."""
    (one,) = rig.origins[0].requests
    return one


def ask_through(rig: Rig, headers: dict[str, str], **settings: object) -> Request:
    """One request through a gateway of its own; what reached the upstream."""
    origin = rig.origin()
    rig.gateway(origin, **settings).fetch("GET", "/any", headers)
    (one,) = origin.requests
    return one


# Forwarding headers.


def test_a_strangers_word_on_who_it_is_is_never_passed_on(
    gateway: Gateway, quiet: Rig
) -> None:
    quiet.origins[0].forget(serve)
    spoofed = dict.fromkeys(ALIASES, "203.0.113.66")
    gateway.fetch("GET", "/any", spoofed)

    passed = [name for name, value in seen(quiet).headers if b"203.0.113.66" in value]
    assert passed == []


def test_the_client_is_named_to_the_upstream(gateway: Gateway, quiet: Rig) -> None:
    quiet.origins[0].forget(serve)
    gateway.fetch("GET", "/any", source="127.0.0.77", host="Shop.example.com:81")

    request = seen(quiet)
    assert request.value("x-forwarded-for") == b"127.0.0.77"
    assert request.value("x-forwarded-proto") == b"http"
    assert request.value("x-forwarded-host") == b"shop.example.com:81"
    assert request.value("host") == b"shop.example.com:81"


def test_behind_a_trusted_proxy_addresses_are_appended(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, trusted_proxies=["127.0.0.8/32", "::1/128"])
    told = {
        "X-Forwarded-For": "203.0.113.5, 198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example.com",
    }
    gateway.fetch("GET", "/any", told, source="127.0.0.8")
    gateway.fetch("GET", "/any", told, source="127.0.0.9")
    trusted, stranger = origin.requests

    assert trusted.value("x-forwarded-for") == (b"203.0.113.5, 198.51.100.7, 127.0.0.8")
    assert trusted.value("x-forwarded-proto") == b"https"
    assert trusted.value("x-forwarded-host") == b"shop.example.com"
    assert stranger.value("x-forwarded-for") == b"127.0.0.9"
    assert stranger.value("x-forwarded-proto") == b"http"
    assert stranger.value("x-forwarded-host") == b"example.com"


def front_socket(rig: Rig) -> dict[str, object]:
    """A listener on a Unix socket and one on TCP, and who is trusted: the first."""
    path = f"unix:{rig.directory}/front.sock"
    listeners = {"front": {"address": path}, "tcp": {"address": "127.0.0.1:0"}}
    return {"listeners": listeners, "trusted_proxies": ["unix"]}


FRONT_SAYS = {
    "X-Forwarded-For": "203.0.113.5, 198.51.100.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.example.com",
    "Forwarded": "for=203.0.113.5;proto=https",
    "X-Request-ID": "front.42",
}


def test_a_front_proxy_on_a_unix_socket_can_be_trusted(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, forwarded=True, **front_socket(rig))
    fetch(gateway.listeners["front"][0], "GET", "/any", FRONT_SAYS)
    fetch(gateway.listeners["tcp"][0], "GET", "/any", FRONT_SAYS)
    trusted, stranger = origin.requests

    # A peer on a Unix socket has no address to append (RFC 7239 section 6).
    assert trusted.value("x-forwarded-for") == b"203.0.113.5, 198.51.100.7"
    assert trusted.value("x-forwarded-proto") == b"https"
    assert trusted.value("x-forwarded-host") == b"shop.example.com"
    assert trusted.value("x-request-id") == b"front.42"
    assert trusted.value("forwarded") == (
        b"for=203.0.113.5;proto=https, for=unknown;host=example.com;proto=https"
    )
    # The word trusts the way a connection came, not the loopback.
    assert stranger.value("x-forwarded-for") == b"127.0.0.1"
    assert stranger.value("x-forwarded-proto") == b"http"
    assert stranger.value("x-forwarded-host") == b"example.com"
    assert stranger.value("forwarded") == b"for=127.0.0.1;host=example.com;proto=http"


def test_a_front_proxy_that_says_nothing_has_no_address_to_tell(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, forwarded=True, **front_socket(rig))
    fetch(gateway.listeners["front"][0], "GET", "/any")
    (request,) = origin.requests

    assert request.value("x-forwarded-for") is None
    assert request.value("x-forwarded-port") is None
    assert request.value("x-forwarded-proto") == b"http"
    assert request.value("forwarded") == b"for=unknown;host=example.com;proto=http"


def test_a_peer_on_a_unix_socket_is_a_stranger_unless_it_is_named(rig: Rig) -> None:
    origin = rig.origin()
    settings = front_socket(rig) | {"trusted_proxies": ["0.0.0.0/0", "::/0"]}
    gateway = rig.gateway(origin, **settings)
    fetch(gateway.listeners["front"][0], "GET", "/any", FRONT_SAYS)
    (request,) = origin.requests

    assert request.value("x-forwarded-for") is None
    assert request.value("forwarded") is None
    assert request.value("x-forwarded-proto") == b"http"
    assert request.value("x-forwarded-host") == b"example.com"


def test_several_lists_of_addresses_become_one(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, trusted_proxies=["127.0.0.0/8"])
    gateway.fetch(
        "GET",
        "/any",
        [("X-Forwarded-For", "203.0.113.5"), ("X-Forwarded-For", "198.51.100.7")],
    )

    assert origin.requests[0].value("x-forwarded-for") == (
        b"203.0.113.5, 198.51.100.7, 127.0.0.1"
    )


def test_forwarded_is_written_when_asked_for(rig: Rig) -> None:
    request = ask_through(rig, {}, forwarded=True)

    parts = (request.value("forwarded") or b"").decode().lower().split(";")
    wanted = {"for=127.0.0.1", "proto=http", "host=example.com"}
    assert {part.strip().replace('"', "") for part in parts} >= wanted


def test_an_ipv6_client_is_quoted_in_forwarded(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, listen="[::1]:0", forwarded=True)
    gateway.fetch("GET", "/any")
    (request,) = origin.requests

    assert b'for="[::1]"' in (request.value("forwarded") or b"").lower()
    assert request.value("x-forwarded-for") == b"::1"


def test_forwarding_headers_can_be_switched_off(rig: Rig) -> None:
    request = ask_through(
        rig, {"X-Forwarded-For": "203.0.113.5"}, x_forwarded=False, request_id=False
    )

    added = [n for n in request.names() if n.startswith((b"x-forw", b"x-request"))]
    assert added == []


# Request ids.


def test_each_request_gets_an_id_of_its_own(gateway: Gateway, quiet: Rig) -> None:
    origin = quiet.origins[0]
    origin.forget(serve)
    client = quiet.client(gateway)
    for _ in range(100):
        client.ask("GET", "/size/1")

    ids = {request.value("x-request-id") for request in origin.requests}
    assert len(ids) == 100
    assert all(re.fullmatch(rb"[0-9a-f-]{16,64}", one or b"") for one in ids)


def test_a_request_id_of_the_client_is_kept(gateway: Gateway, quiet: Rig) -> None:
    quiet.origins[0].forget(serve)
    gateway.fetch("GET", "/any", {"X-Request-ID": "my-own.42"})

    assert seen(quiet).value("x-request-id") == b"my-own.42"


def test_ids_differ_between_workers(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, workers=2)
    for _ in range(60):
        gateway.fetch("GET", "/size/1")

    assert len({one.value("x-request-id") for one in origin.requests}) == 60


# Hops.


def test_what_connection_lists_stays_at_this_hop_both_ways(
    gateway: Gateway, quiet: Rig
) -> None:
    quiet.origins[0].forget(
        always(
            response(200, b"ok", {"Connection": "X-Back", "X-Back": "1", "X-Kept": "2"})
        )
    )
    answer = gateway.fetch("GET", "/any", {"Connection": "X-User", "X-User": "root"})

    assert seen(quiet).value("x-user") is None
    assert answer.value("x-back") is None
    assert answer.value("x-kept") == b"2"


@pytest.mark.parametrize(
    "name",
    [
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
    ],
)
def test_a_hop_by_hop_header_stays_at_this_hop_both_ways(
    gateway: Gateway, quiet: Rig, name: str
) -> None:
    quiet.origins[0].forget(always(response(200, b"ok", {name: "secret"})))
    answer = gateway.fetch("GET", "/any", {name: "secret"})

    assert all(value != b"secret" for _, value in seen(quiet).headers)
    assert all(value != b"secret" for _, value in answer.headers)


# Server and Via.


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ("fastgate", b"fastgate"),
        ("edge/1", b"edge/1"),
        ("off", None),
        ("pass", b"secret/1.2"),
    ],
)
def test_the_server_header_follows_its_policy(
    rig: Rig, policy: str, shown: bytes | None
) -> None:
    origin = rig.origin(always(response(200, b"ok", {"Server": "secret/1.2"})))
    gateway = rig.gateway(origin, server_header=policy)

    assert gateway.fetch().value("server") == shown


def test_via_is_added_both_ways_when_asked_for(rig: Rig) -> None:
    origin = rig.origin(always(response(200, b"ok", {"Via": "1.1 inner"})))
    answer = rig.gateway(origin, via=True).fetch("GET", "/", {"Via": "1.0 outer"})

    (request,) = origin.requests
    assert b", ".join(request.values("via")).startswith(b"1.0 outer, 1.1 ")
    assert b", ".join(answer.values("via")).startswith(b"1.1 inner, 1.1 ")


def test_every_worker_gives_via_the_one_name_of_this_gateway(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, via=True, workers=2)
    (said,) = gateway.stderr.wait_for(r"Via calls this gateway (fastgate-[0-9a-f]{12})")
    for _ in range(40):
        gateway.fetch("GET", "/size/1")

    hop = b"1.1 " + said[1].encode()
    assert {request.value("via") for request in origin.requests} == {hop}


def ring(rig: Rig, **settings: object) -> tuple[Gateway, Gateway]:
    """Two gateways, each the upstream of the other."""
    # No connection stays, as the other one would count it as a leak.
    settings |= {"via": True, "upstream_pool": 0, "max_conns": 40, "retries": 0}
    first = addresses.unused()
    second = rig.gateway(first, **settings)
    return rig.gateway(second, listen=first, **settings), second


def test_a_request_that_comes_round_is_refused_at_once(rig: Rig) -> None:
    first, second = ring(rig)
    for method, body in (("GET", b""), ("POST", b"x" * 100_000)):
        answer = first.fetch(method, "/round?x", {}, body)

        assert answer.status == 508
        assert answer.body == (
            b"508 loop: Via says that this request passed here before (via = on)\n"
        )
    first.stderr.wait_for(
        r"warning: refused, loop: route main was given a request whose Via names this"
        r' gateway \(via = on\), for "GET /round\?x HTTP/1\.1"$'
    )
    assert "refused" not in second.stderr.text
    # One connection of the client's, one back from the other gateway, each time.
    assert first.workers()[0]["accepted"] == 4
    assert second.workers()[0]["accepted"] == 2


def test_a_loop_cannot_be_hidden_by_what_the_client_sends(rig: Rig) -> None:
    first, _ = ring(rig)
    for sent in ("1.1 x (", '1.1 x (\\, "', ",", "1.1 fastgate"):
        told = [("Connection", "Via"), ("Via", sent)]

        assert first.fetch("GET", "/round", told).status == 508


def test_gateways_in_a_chain_are_not_a_loop(rig: Rig) -> None:
    origin = rig.origin()
    settings = {"via": True, "upstream_pool": 0}
    inner = rig.gateway(origin, **settings)
    outer = rig.gateway(rig.gateway(inner, **settings), **settings)

    assert outer.fetch("GET", "/size/3").status == 200
    hops = (origin.requests[0].value("via") or b"").split(b", ")
    assert len(set(hops)) == 3


def test_gateways_that_are_given_one_name_are_one(rig: Rig) -> None:
    settings = {"via": True, "via_name": "edge:80", "upstream_pool": 0}
    origin = rig.origin()
    inner = rig.gateway(origin, **settings)

    assert inner.fetch("GET", "/any", {"Via": "1.1 edge"}).status == 200
    assert origin.requests[0].value("via") == b"1.1 edge, 1.1 edge:80"
    assert rig.gateway(inner, **settings).fetch("GET", "/any").status == 508


def test_a_request_with_our_name_passes_where_via_is_off(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, via_name="edge")

    assert gateway.fetch("GET", "/any", {"Via": "1.1 edge"}).status == 200
    assert origin.requests[0].value("via") == b"1.1 edge"


# Rules of a route.


def test_a_route_sets_adds_and_removes_request_headers(rig: Rig) -> None:
    origin = rig.origin()
    rules = {
        "set": {"X-Env": "prod", "X-New": "1"},
        "add": {"X-Tag": "edge"},
        "remove": ["X-Debug", "Cookie"],
    }
    sent = [
        ("x-env", "dev"),
        ("X-Env", "test"),
        ("X-Tag", "mine"),
        ("X-DEBUG", "1"),
        ("Cookie", "a=b"),
        ("X-Other", "2"),
    ]
    gateway = rig.gateway(origin, route={"request_headers": rules})
    gateway.fetch("GET", "/any", sent)
    (request,) = origin.requests

    assert request.values("x-env") == [b"prod"]
    assert request.values("x-new") == [b"1"]
    assert request.values("x-tag") == [b"mine", b"edge"]
    assert request.values("x-debug") == request.values("cookie") == []
    assert request.values("x-other") == [b"2"]


def test_a_route_hides_what_a_service_reveals(rig: Rig) -> None:
    origin = rig.origin(
        always(
            response(
                200, b"ok", {"X-Powered-By": "cobol", "Server": "x/1", "X-Frame": "a"}
            )
        )
    )
    rules = {
        "set": {"X-Frame": "deny", "Server": "shop"},
        "add": {"X-Served": "here"},
        "remove": ["x-powered-by"],
    }
    answer = rig.gateway(origin, route={"response_headers": rules}).fetch()

    assert answer.values("x-powered-by") == []
    assert answer.values("x-frame") == [b"deny"]
    assert answer.values("x-served") == [b"here"]
    assert answer.values("server") == [b"shop"]


def test_the_host_sent_upstream_follows_its_policy(rig: Rig) -> None:
    origin = rig.origin()
    policies = {
        "keep": "example.com",
        "upstream": origin.address,
        "inner.example": "inner.example",
    }
    gateway = rig.gateway(
        origin,
        routes=[
            {
                "name": policy,
                "match": {"path": f"/{policy}"},
                "upstream": "main",
                "host": policy,
            }
            for policy in policies
        ],
    )
    for policy, host in policies.items():
        gateway.fetch("GET", f"/{policy}")
        request = origin.requests[-1]
        assert request.value("host") == host.encode(), policy
        assert request.value("x-forwarded-host") == b"example.com", policy


def test_a_large_head_passes_whole_in_both_directions(
    gateway: Gateway, quiet: Rig
) -> None:
    headers = {f"X-Header-{n}": "v" * 250 for n in range(100)}
    origin: Origin = quiet.origins[0]
    origin.forget(always(response(200, b"ok", headers)))
    client = quiet.client(gateway)
    client.send(request("GET", "/any", headers))
    answer = client.read_response()

    for name in headers:
        assert seen(quiet).value(name) == answer.value(name) == b"v" * 250


def test_trace_is_answered_405_by_default(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())

    refused = gateway.fetch("TRACE", "/")

    assert refused.status == 405
    assert b"trace = off" in refused.body
    assert rig.gateway(rig.origin(), trace=True).fetch("TRACE", "/").status == 200
