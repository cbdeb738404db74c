"""Which upstream a request goes to, and what it looks like when it gets there."""

from __future__ import annotations

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
        ("shop.example.com", "/cart/a/../b%2Fc;v=1//d", "host-and-prefix"),
        ("shop.example.com", "/x;a=b/%7Ejoe\\y", "exact-host"),
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
        ("/static/a/../b", "/static/a/../b"),
        ("/static//a", "/static//a"),
        ("/static/%7ea%c3%A9?%2f", "/static/%7ea%c3%A9?%2f"),
        ("/static/[a|b]{c}", "/static/[a|b]{c}"),
        ("/static/a;b/c%2Fd%5C?x;y", "/static/a;b/c%2Fd%5C?x;y"),
        ("http://other.test/static//a?b", "/static//a?b"),
    ],
)
def test_the_upstream_sees_the_target_as_it_came(
    gateway: Gateway, quiet: Rig, sent: str, forwarded: str
) -> None:
    answer = gateway.fetch("GET", sent, host="other.test")

    assert answer.status == 200
    assert quiet.origins[NAMES.index("prefix")].requests[-1].target == (
        forwarded.encode()
    )


@pytest.mark.parametrize(
    ("target", "one", "other"),
    [
        ("/cart/..%2fother", "host-and-prefix", "exact-host"),
        ("//cart", "host-and-prefix", "exact-host"),
        ("/x/../cart/1", "host-and-prefix", "exact-host"),
        ("/%63art/1", "host-and-prefix", "exact-host"),
        ("/x\\..\\cart", "exact-host", "host-and-prefix"),
        ("/cart;x", "exact-host", "host-and-prefix"),
        ("/cart/items;x", "host-and-prefix", "host-and-path"),
        ("/%2563art", "exact-host", "host-and-prefix"),
    ],
)
def test_a_path_whose_readings_take_two_routes_is_refused_by_their_names(
    gateway: Gateway, quiet: Rig, target: str, one: str, other: str
) -> None:
    before = [len(origin.heads) for origin in quiet.origins]
    answer = gateway.fetch("GET", target, host="shop.example.com")

    assert answer.status == 400
    assert answer.body.decode() == (
        f'400 ambiguous path: one way to read it takes route "{one}", another route'
        f' "{other}" (ambiguous_paths = "routes")\n'
    )
    assert [len(origin.heads) for origin in quiet.origins] == before


def test_a_path_that_some_read_as_no_routes_is_refused(
    gateway: Gateway, quiet: Rig
) -> None:
    answer = gateway.fetch("GET", "/static/..%2fx", host="other.test")

    assert answer.status == 400
    assert b'takes route "prefix", another no route (' in answer.body


@pytest.mark.parametrize("target", ["/x//y", "/y;a", "/%2e%2e%2e/a%2Fb"])
def test_a_path_that_no_reading_takes_anywhere_is_not_found(
    gateway: Gateway, quiet: Rig, target: str
) -> None:
    assert gateway.fetch("GET", target, host="other.test").status == 404


@pytest.mark.parametrize("target", ["/static/..%2f..%2fx", "/..;/x", "/x/..;/..;/"])
def test_a_path_that_leaves_the_root_is_refused_where_no_route_takes_it_too(
    gateway: Gateway, quiet: Rig, target: str
) -> None:
    answer = gateway.fetch("GET", target, host="other.test")

    assert (answer.status, answer.body) == (400, b"400 invalid target\n")


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


def test_the_route_of_the_primary_reading_says_what_ambiguous_paths_become(
    rig: Rig,
) -> None:
    kept, admin, other = (rig.origin(name=name) for name in ("kept", "admin", "other"))
    gateway = rig.gateway(
        ambiguous_paths="reject",
        upstreams={o.name: {"endpoints": [o.address]} for o in (kept, admin, other)},
        routes=[
            {"name": "other", "upstream": "other"},
            {
                "name": "kept",
                "match": {"path_prefix": "/kept"},
                "upstream": "kept",
                "ambiguous_paths": "keep",
            },
            {
                "name": "admin",
                "match": {"path_prefix": "/admin"},
                "upstream": "admin",
                "ambiguous_paths": "routes",
            },
        ],
    )
    for target in ("/kept/..%2fadmin", "//kept", "/kept/a%252Fb;c"):
        assert gateway.fetch("GET", target).status == 200
        assert kept.requests[-1].target == target.encode()
    assert gateway.fetch("GET", "/admin/a;b").status == 200
    assert b'"routes"' in gateway.fetch("GET", "/admin/..%2fx").body
    for target in ("/a%2Fb", "/a%5Cb", "/a;b", "/a//b", "/a/./b", "/a%2e", "/a%25"):
        answer = gateway.fetch("GET", target)
        assert answer.status == 400
        assert answer.body == (
            b"400 ambiguous path: it can be read in several ways"
            b' (ambiguous_paths = "reject")\n'
        )
    assert gateway.fetch("GET", "/%7Ejoe/%40a/%20%c3%a9|").status == 200
    assert gateway.fetch("GET", "/kept/a%00b").status == 400
    assert gateway.fetch("GET", "/kept/..;/..;/a").status == 400
