import re
import socket

import pytest

from fastgate.config import machine
from fastgate.config.knobs import KNOBS
from fastgate.config.model import Config, Gateway, Route, Upstream
from fastgate.control.plan import inherited, make_plan
from fastgate.control.sockets import BoundListener, Place
from fastgate.errors import StartError

PLACE = Place(socket.AF_INET, "127.0.0.1", 81)


def config(**changes):
    values = {
        "listeners": {"web": {"address": "127.0.0.1:0"}},
        "upstreams": {"users": {"endpoints": ["127.0.0.1:9000"]}},
        "routes": [{"name": "all", "upstream": "users"}],
    }
    return Config(**(values | changes))


def plan_of(log, **changes):
    return make_plan(config(**changes), [], log)


def test_endpoints_are_numbered_over_all_upstreams(log):
    plan = plan_of(
        log,
        upstreams={
            "users": {"endpoints": ["127.0.0.1:1", "[::1]:2"]},
            "files": {"endpoints": ["unix:/run/files", "10.0.0.1:3;weight=7"]},
        },
    )

    keys = ("family", "host", "port", "weight")
    assert [tuple(e[key] for key in keys) for e in plan.endpoints] == [
        ("inet", "127.0.0.1", 1, 1),
        ("inet6", "::1", 2, 1),
        ("unix", "/run/files", 0, 1),
        ("inet", "10.0.0.1", 3, 7),
    ]


def test_an_endpoint_keeps_its_zone_and_its_host_field_does_not(log):
    plan = plan_of(
        log,
        upstreams={"users": {"endpoints": ["[fe80::1%lo]:80", "[fe80::1]:80"]}},
        routes=[{"name": "all", "upstream": "users", "host": "upstream"}],
    )

    assert [(e["host"], e["scope"]) for e in plan.endpoints] == [
        ("fe80::1", socket.if_nametoindex("lo")),
        ("fe80::1", 0),
    ]
    assert plan.routes[0]["set_host"] == "[fe80::1]:80"


def test_a_zone_that_is_not_here_is_a_down_endpoint(log):
    plan = plan_of(log, upstreams={"users": {"endpoints": ["[fe80::1%no0]:80"]}})

    assert plan.endpoints[0]["host"] is None
    assert "cannot resolve fe80::1%no0" in log.lines[0][1]


def test_a_name_is_resolved_once_and_to_ipv4_if_it_can(log, monkeypatch):
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    plan = plan_of(log, upstreams={"users": {"endpoints": ["api.internal:80"]}})

    assert asked == ["api.internal"]
    assert plan.endpoints[0]["host"] == "127.0.0.1"
    assert plan.endpoints[0]["address"] == "api.internal:80"


def test_a_name_that_cannot_be_resolved_is_a_down_endpoint(log, monkeypatch):
    def fail(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    plan = plan_of(log, upstreams={"users": {"endpoints": ["nowhere:80"]}})

    assert plan.endpoints[0]["host"] is None
    assert log.lines == [
        (
            "error",
            "upstream users: cannot resolve nowhere: Name or service not known;"
            " endpoint nowhere:80 is down until the next start or reload",
        )
    ]


def test_an_upstream_has_every_setting_its_own_or_the_gateways(log):
    plan = plan_of(
        log,
        gateway={"retries": 3, "connect_timeout": "2s"},
        upstreams={
            "users": {
                "endpoints": ["127.0.0.1:1"],
                "retries": 0,
                "eject": "off",
                "balance": "hash",
                "hash_key": "header:X-User",
            }
        },
    )

    (upstream,) = plan.upstreams
    assert upstream["retries"] == 0
    assert upstream["connect_timeout"] == 2000
    assert (upstream["eject_failures"], upstream["eject_for"]) == (0, 0)
    assert upstream["hash_key"] == "header:x-user"


def test_retry_of_an_upstream_goes_before_the_knobs_of_the_gateway(log):
    endpoints = {"endpoints": ["127.0.0.1:1"]}
    plan = plan_of(
        log,
        gateway={"retries": 3, "retry_budget": "7%"},
        upstreams={
            "users": endpoints,
            "speaks": endpoints
            | {
                "retry": {
                    "on": "connect,503",
                    "tries": 2,
                    "backoff": "25ms",
                    "budget": "9%",
                    "methods": "all",
                    "per_try": "2s",
                }
            },
            "own": endpoints | {"retries": 1, "retry": {"budget": "0%"}},
        },
    )

    keys = ("retry_on", "retries", "retry_backoff", "retry_budget", "retry_methods")
    assert [[one[key] for key in (*keys, "per_try")] for one in plan.upstreams] == [
        [["connect", "reset"], 3, 0, 7, "idempotent", 0],
        [["connect", 503], 2, 25, 9, "all", 2000],
        [["connect", "reset"], 1, 0, 0, "idempotent", 0],
    ]


def test_routes_point_at_upstreams_by_index_in_the_order_of_the_file(log):
    endpoints = {"endpoints": ["127.0.0.1:1"]}
    other = {"endpoints": ["127.0.0.1:2"]}
    plan = plan_of(
        log,
        upstreams={"a": endpoints, "b": other},
        routes=[
            {"name": "z", "upstream": "b", "match": {"path": "/x", "host": "h.com"}},
            {"name": "y", "upstream": "a", "match": {"path_prefix": "/v2"}},
            {"name": "x", "upstream": "a"},
        ],
    )

    found = [(r["host"], r["kind"], r["path"], r["upstream"]) for r in plan.routes]
    assert found == [
        ("h.com", "exact", "/x", 1),
        (None, "prefix", "/v2", 0),
        (None, "prefix", "/", 0),
    ]


@pytest.mark.parametrize(
    ("host", "endpoint", "sent"),
    [
        ("keep", "127.0.0.1:1", None),
        ("upstream", "api.internal:81", "api.internal:81"),
        ("upstream", "unix:/run/x", "localhost"),
        ("example.com", "127.0.0.1:1", "example.com"),
    ],
)
def test_the_host_sent_upstream(log, host, endpoint, sent, monkeypatch):
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 1))]
    )
    plan = plan_of(
        log,
        upstreams={"users": {"endpoints": [endpoint]}},
        routes=[{"name": "all", "upstream": "users", "host": host}],
    )

    assert plan.routes[0]["set_host"] == sent


def test_header_rules_come_in_the_order_in_which_they_are_carried_out(log):
    rules = {"add": {"X-C": "3"}, "set": {"X-B": "2"}, "remove": ["X-A"]}
    plan = plan_of(
        log, routes=[{"name": "all", "upstream": "users", "request_headers": rules}]
    )

    assert plan.routes[0]["request_rules"] == [
        ("remove", "X-A", ""),
        ("set", "X-B", "2"),
        ("add", "X-C", "3"),
    ]
    assert plan.routes[0]["response_rules"] == []


def test_limits_of_a_route_come_from_the_nearest_that_has_them(log):
    plan = plan_of(
        log,
        gateway={"max_body": "1m", "deadline": "9s", "ambiguous_paths": "reject"},
        upstreams={"users": {"endpoints": ["127.0.0.1:1"], "deadline": "5s"}},
        routes=[
            {"name": "a", "upstream": "users", "match": {"path": "/a"}, "max_body": 0},
            {
                "name": "b",
                "upstream": "users",
                "deadline": "2s",
                "ambiguous_paths": "keep",
            },
        ],
    )

    found = [
        (route["max_body"], route["deadline"], route["ambiguous_paths"])
        for route in plan.routes
    ]
    assert found == [(0, 5000, "reject"), (1 << 20, 2000, "keep")]


@pytest.mark.parametrize(
    "key", [k.key for k in KNOBS.values() if k.default is not None]
)
def test_what_a_knob_lets_a_table_override_is_in_the_plan_of_that_table(
    log, monkeypatch, key
):
    monkeypatch.setitem(KNOBS, key, KNOBS[key]._replace(scopes=("upstream", "route")))

    plan = plan_of(log)

    keys = ("eject_failures", "eject_for") if key == "eject" else (key,)
    assert set(keys) <= set(plan.upstreams[0])
    assert key in plan.routes[0]


def test_the_gateway_has_every_scalar_setting(log):
    plan = plan_of(log, gateway={"trusted_proxies": "10.0.0.0/8", "eject": "3/2s"})

    settings = config().gateway.model_dump()
    assert set(settings) | {"pages"} == set(plan.gateway)
    assert plan.gateway["trusted_proxies"] == ["10.0.0.0/8"]
    (upstream,) = plan.upstreams
    assert (upstream["eject_failures"], upstream["eject_for"]) == (3, 2000)


def test_a_route_that_goes_upstream_answers_nothing(log):
    (route,) = plan_of(log).routes

    assert (route["answer"], route["upstream"], route["status"]) == (0, 0, 0)
    assert (route["body"], route["content_type"], route["location"]) == (None, None, [])
    assert route["error_pages"] == {}


@pytest.mark.parametrize(
    ("respond", "body", "content_type"),
    [
        ({"status": 404}, None, None),
        ({"status": 200}, b"", None),
        ({"status": 404, "body": ""}, b"", None),
        ({"status": 200, "body": "\xe4\n"}, b"\xc3\xa4\n", "text/plain; charset=utf-8"),
        ({"status": 599, "body": "{}", "content_type": "a/b"}, b"{}", "a/b"),
    ],
)
def test_a_route_that_responds_has_all_of_the_answer(log, respond, body, content_type):
    plan = plan_of(log, upstreams={}, routes=[{"name": "all", "respond": respond}])

    (route,) = plan.routes
    assert (route["answer"], route["upstream"]) == (1, -1)
    assert (route["set_host"], route["request_rules"]) == (None, [])
    assert route["status"] == respond["status"]
    assert (route["body"], route["content_type"]) == (body, content_type)
    assert route["location"] == []


def test_a_route_that_redirects_has_the_pieces_of_its_location(log):
    redirect = {"to": "https://www.{host}/a{path}{query}#{scheme}"}
    plan = plan_of(log, routes=[{"name": "all", "redirect": redirect, "max_body": 7}])

    (route,) = plan.routes
    assert (route["answer"], route["upstream"], route["status"]) == (2, -1, 302)
    assert route["location"] == [b"https://www.", 0, b"/a", 1, 2, b"#", 3]
    assert (route["body"], route["content_type"]) == (None, None)
    assert route["max_body"] == 7


def test_error_pages_are_those_of_the_gateway_and_before_them_the_routes(log, tmp_path):
    for name in ("a.html", "b.json"):
        (tmp_path / name).write_text(name)
    plan = plan_of(
        log,
        gateway={"error_pages": {"5xx": f"{tmp_path}/a.html"}},
        routes=[
            {
                "name": "all",
                "upstream": "users",
                "error_pages": {404: f"{tmp_path}/a.html", 502: f"{tmp_path}/b.json"},
            }
        ],
    )

    assert plan.gateway["pages"] == [
        ("text/html", b"a.html"),
        ("application/json", b"b.json"),
    ]
    assert plan.gateway["error_pages"] == dict.fromkeys(range(500, 600), 0)
    assert plan.routes[0]["error_pages"] == plan.gateway["error_pages"] | {
        404: 0,
        502: 1,
    }


def test_an_error_page_that_went_away_stops_the_start(log):
    with pytest.raises(StartError, match=r"'/none/a\.html' cannot be read: no such"):
        plan_of(log, gateway={"error_pages": {"5xx": "/none/a.html"}})


def hop_name(log, *addresses, **gateway):
    bound = [
        BoundListener(PLACE, "web", address, 0, "http", [], False)
        for address in addresses
    ]
    return make_plan(config(gateway=gateway), bound, log).gateway["via_name"]


def test_via_calls_a_gateway_by_where_it_listens(log):
    name = hop_name(log, "127.0.0.1:81", "[::1]:81")

    assert re.fullmatch("fastgate-[0-9a-f]{12}", name)
    assert hop_name(log, "[::1]:81", "127.0.0.1:81") == name
    others = [["127.0.0.1:82", "[::1]:81"], ["127.0.0.1:81"], ["unix:/run/a"]]
    assert len({name, *(hop_name(log, *other) for other in others)}) == 4


def test_via_calls_gateways_of_other_machines_otherwise(log, monkeypatch):
    names = set()
    for identity in ("one", "two"):
        monkeypatch.setattr(machine, "identity", lambda found=identity: found)
        names.add(hop_name(log, "0.0.0.0:80"))

    assert len(names) == 2


def test_via_calls_the_gateway_as_it_is_told(log):
    assert hop_name(log, "127.0.0.1:81", via_name="edge-1") == "edge-1"


def test_listeners_are_those_that_were_bound(log):
    bound = [BoundListener(PLACE, "web", "127.0.0.1:81", 81, "http", [], False)]
    plan = make_plan(config(), bound, log)

    assert plan.listeners == [
        {
            "name": "web",
            "address": "127.0.0.1:81",
            "port": 81,
            "scheme": "http",
            "is_shared": False,
            "refused_methods": (),
        }
    ]


def test_a_setting_comes_from_the_most_specific_layer_that_has_it() -> None:
    gateway = Gateway(deadline="9s")
    upstream = Upstream(endpoints=["a:1"], deadline="5s")
    route = Route(name="r", upstream="u", deadline=0)

    assert inherited("deadline", route, upstream, gateway) == 0
    assert inherited("deadline", None, upstream, gateway) == 5_000
    assert inherited("deadline", Route(name="r", upstream="u"), gateway) == 9_000
    with pytest.raises(KeyError):
        inherited("no_such", route, gateway)


def test_a_listener_refuses_its_own_methods_or_the_gateways(log):
    changed = config(
        gateway={"refused_methods": ["DELETE"]},
        listeners={
            "web": {"address": "127.0.0.1:0"},
            "open": {"address": "127.0.0.1:0", "refused_methods": []},
            "api": {"address": "127.0.0.1:0", "refused_methods": ["FOO", "PUT"]},
        },
    )
    names = ("web", "open", "api")
    bound = [BoundListener(PLACE, name, "", 81, "http", [], False) for name in names]

    plan = make_plan(changed, bound, log)

    methods = [listener["refused_methods"] for listener in plan.listeners]
    assert methods == [("DELETE",), (), ("FOO", "PUT")]
