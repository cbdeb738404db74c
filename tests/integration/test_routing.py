"""Which upstream a request goes to, and what it looks like when it gets there."""

from __future__ import annotations

import json

import pytest
from support.gateway import Gateway
from support.rig import Rig

ROUTES = [
    {"name": "exact-host", "match": {"host": "shop.example.com"}},
    {"name": "wildcard-host", "match": {"host": "*.example.com"}},
    {
        "name": "host-and-prefix",
        "match": {"host": "shop.example.com", "path_prefix": "/cart"},
    },
    {
        "name": "host-and-longer-prefix",
        "match": {"host": "shop.example.com", "path_prefix": "/cart/items"},
    },
    {
        "name": "host-and-path",
        "match": {"host": "shop.example.com", "path": "/cart/items"},
    },
    {"name": "prefix", "match": {"path_prefix": "/static/"}},
    {"name": "path", "match": {"path": "/health"}},
]
NAMES = [route["name"] for route in ROUTES]


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    """An upstream for each route, each with one origin of the route's name."""
    upstreams = {
        name: {"endpoints": [module_rig.origin(name=name).address]} for name in NAMES
    }
    routes = [route | {"upstream": route["name"]} for route in ROUTES]
    return module_rig.gateway(upstreams=upstreams, routes=routes)


@pytest.mark.parametrize(
    ("host", "target", "route"),
    [
        ("shop.example.com", "/", "exact-host"),
        ("shop.example.com", "/anything/else", "exact-host"),
        ("SHOP.Example.COM", "/", "exact-host"),
        ("shop.example.com.", "/", "exact-host"),
        ("shop.example.com:8080", "/", "exact-host"),
        ("Shop.example.com.:8080", "/", "exact-host"),
        ("blog.example.com", "/", "wildcard-host"),
        ("BLOG.example.com:80", "/cart", "wildcard-host"),
        ("shop.example.com", "/cart/1", "host-and-prefix"),
        ("shop.example.com", "/cart", "host-and-prefix"),
        ("shop.example.com", "/cart?x=/cart/items", "host-and-prefix"),
        ("shop.example.com", "/cart/items/7", "host-and-longer-prefix"),
        ("shop.example.com", "/cart/items", "host-and-path"),
        ("shop.example.com", "/cart/items?page=2", "host-and-path"),
        ("shop.example.com", "/cart/./items", "host-and-path"),
        ("shop.example.com", "//cart//items", "host-and-path"),
        ("shop.example.com", "/x/../cart/%69tems", "host-and-path"),
        ("shop.example.com", "/cart/%2e%2e/other", "exact-host"),
        ("shop.example.com", "/Cart", "exact-host"),
        ("other.test", "/static/a.css", "prefix"),
        ("other.test", "/health", "path"),
        ("other.test", "/health?now", "path"),
    ],
)
def test_a_request_takes_the_most_specific_route(
    gateway: Gateway, quiet: Rig, host: str, target: str, route: str
) -> None:
    answer = gateway.fetch("GET", target, host=host)

    assert (answer.status, answer.value("x-origin")) == (200, route.encode())


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("example.com", "/"),
        ("other.test", "/"),
        ("other.test", "/healthy"),
        ("other.test", "/health/"),
        ("other.test", "/Health"),
        ("other.test", "/static"),
        ("shop.example.com.evil.test", "/"),
        ("notexample.com", "/"),
    ],
)
def test_what_no_route_matches_is_not_found(
    gateway: Gateway, quiet: Rig, host: str, target: str
) -> None:
    before = [len(origin.heads) for origin in quiet.origins]
    answer = gateway.fetch("GET", target, host=host)

    assert answer.status == 404
    assert [len(origin.heads) for origin in quiet.origins] == before


def test_a_prefix_ends_at_a_segment(gateway: Gateway, quiet: Rig) -> None:
    answer = gateway.fetch("GET", "/cartoon", host="shop.example.com")

    assert answer.value("x-origin") == b"exact-host"


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        ("/static/../static/a", "/static/a"),
        ("/static//a", "/static/a"),
        ("/st%61tic/%7ea?%2f", "/static/~a?%2f"),
        ("/static/a%20b", "/static/a%20b"),
    ],
)
def test_the_upstream_sees_the_path_that_was_matched(
    gateway: Gateway, quiet: Rig, sent: str, forwarded: str
) -> None:
    answer = gateway.fetch("GET", sent, host="other.test")

    assert json.loads(answer.body)["target"] == forwarded if answer.body else True
    assert quiet.origins[NAMES.index("prefix")].requests[-1].target == (
        forwarded.encode()
    )


def test_hundreds_of_hosts_route_as_few_do(rig: Rig) -> None:
    hosts = [f"h{n}.tenant.test" for n in range(300)]
    even, odd = rig.origin(name="even"), rig.origin(name="odd")
    gateway = rig.gateway(
        upstreams={
            "even": {"endpoints": [even.address]},
            "odd": {"endpoints": [odd.address]},
        },
        routes=[
            {
                "name": host.replace(".", "-"),
                "match": {"host": host},
                "upstream": "odd" if n % 2 else "even",
            }
            for n, host in enumerate(hosts)
        ],
    )
    client = rig.client(gateway)
    for n, host in enumerate(hosts):
        for form in (host, host.upper(), f"{host}.", f"{host}:81"):
            answer = client.ask("GET", "/size/1", host=form)
            assert answer.value("x-origin") == (b"odd" if n % 2 else b"even"), form


def test_ambiguous_paths_pass_where_they_are_asked_for(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, ambiguous_paths="keep")
    for target in ("/a%2Fb", "/a%5Cb", "/a;v=1"):
        assert gateway.fetch("GET", target).status == 200

    assert [one.target for one in origin.requests] == [b"/a%2Fb", b"/a%5Cb", b"/a;v=1"]
    assert gateway.fetch("GET", "/a%00b").status == 400
