"""What the gateway answers itself: direct responses, redirects, error pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import addresses
from support.client import request
from support.gateway import Gateway, run_cli
from support.origin import always, response
from support.rig import Rig
from support.waiting import eventually

PAGE = b"<h1>back soon</h1>\n" * 3000  # more than is copied behind a head
ROUTES: list[dict[str, Any]] = [
    {
        "name": "robots",
        "match": {"path": "/robots.txt"},
        "respond": {"status": 200, "body": "User-agent: *\n"},
        "response_headers": {"set": {"Cache-Control": "max-age=60"}},
    },
    {"name": "empty", "match": {"path": "/empty"}, "respond": {"status": 204}},
    {"name": "gone", "match": {"path": "/gone"}, "respond": {"status": 410}},
    {"name": "none", "match": {"path": "/none"}, "respond": {"status": 404}},
    {
        "name": "https",
        "match": {"path_prefix": "/secure"},
        "redirect": {"to": "https://{host}{path}{query}", "status": 308},
    },
    {
        "name": "moved",
        "match": {"path_prefix": "/old"},
        "redirect": {"to": "/new{path}"},
    },
    {
        "name": "same",
        "match": {"path_prefix": "/scheme"},
        "redirect": {"to": "{scheme}://example.org/", "status": 303},
    },
    {"name": "down", "match": {"path_prefix": "/down"}, "upstream": "down"},
    {
        "name": "own",
        "match": {"path_prefix": "/own"},
        "upstream": "down",
        "error_pages": {"503": "own.json"},
    },
    {"name": "up", "match": {"path_prefix": "/up"}, "upstream": "main"},
]


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    directory = Path(module_rig.directory)
    (directory / "down.html").write_bytes(PAGE)
    (directory / "none.txt").write_bytes(b"nothing here\n")
    (directory / "own.json").write_bytes(b'{"error": "down"}')
    routes = json.loads(json.dumps(ROUTES))
    for route in routes:
        for status, name in route.get("error_pages", {}).items():
            route["error_pages"][status] = str(directory / name)
    origin = module_rig.origin(always(response(502, body=b"the origin's own")))
    return module_rig.gateway(
        upstreams={
            "main": {"endpoints": [origin.address]},
            "down": {"endpoints": [addresses.unused()], "eject": "off"},
        },
        routes=routes,
        error_pages={
            "5xx": str(directory / "down.html"),
            "404": str(directory / "none.txt"),
        },
        access_log=str(directory / "access.log"),
        access_log_format="json",
        access_log_flush="50ms",
    )


# --- direct responses -----------------------------------------------------------


def test_a_direct_response_says_what_is_configured(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/robots.txt")

    assert (answer.status, answer.body) == (200, b"User-agent: *\n")
    assert answer.value("content-type") == b"text/plain; charset=utf-8"
    assert answer.value("content-length") == b"14"
    assert answer.value("date")


def test_the_rules_of_its_route_hold_for_it(gateway: Gateway) -> None:
    assert gateway.fetch("GET", "/robots.txt").value("cache-control") == b"max-age=60"


def test_its_head_tells_of_the_body_that_a_get_would_have(gateway: Gateway) -> None:
    answer = gateway.fetch("HEAD", "/robots.txt")

    assert (answer.status, answer.value("content-length")) == (200, b"14")
    assert answer.body == b""


def test_a_status_without_a_body_has_none(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/empty")

    assert (answer.status, answer.body) == (204, b"")
    assert answer.values("content-length") == []


def test_without_a_body_an_error_says_its_phrase(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/gone")

    assert (answer.status, answer.body) == (410, b"410 Gone\n")


def test_or_its_page(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/none")

    assert (answer.status, answer.body) == (404, b"nothing here\n")


def test_one_connection_serves_one_after_the_other(
    gateway: Gateway, quiet: Rig
) -> None:
    client = quiet.client(gateway)
    for target in ("/robots.txt", "/empty", "/old", "/robots.txt"):
        client.send(request("GET", target))
        assert client.read_response().status in {200, 204, 302}


def test_many_in_one_read_are_all_answered(gateway: Gateway, quiet: Rig) -> None:
    client = quiet.client(gateway)
    client.send(request("GET", "/robots.txt") * 50)

    assert {client.read_response().status for _ in range(50)} == {200}


@pytest.mark.parametrize("size", [5, 400_000])
def test_a_body_that_nobody_wants_does_not_cost_the_answer(
    gateway: Gateway, size: int
) -> None:
    answer = gateway.fetch("POST", "/robots.txt", body=b"x" * size)

    assert (answer.status, answer.body) == (200, b"User-agent: *\n")


# --- redirects --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/secure/a?b=c", 308, b"https://shop.test/secure/a?b=c"),
        ("/secure", 308, b"https://shop.test/secure"),
        ("/secure/%7Ejoe/%2E/x", 308, b"https://shop.test/secure/~joe/x"),
        ("/secure/a%20b/%C3%A9", 308, b"https://shop.test/secure/a%20b/%C3%A9"),
        ("/secure/<a>?<b>", 308, b"https://shop.test/secure/%3Ca%3E?%3Cb%3E"),
        ("/old/x?y", 302, b"/new/old/x"),
        ("/scheme", 303, b"http://example.org/"),
    ],
)
def test_a_redirect_leads_where_its_pieces_say(
    gateway: Gateway, target: str, status: int, location: bytes
) -> None:
    answer = gateway.fetch("GET", target, host="shop.test:8080")

    assert (answer.status, answer.value("location")) == (status, location)
    assert answer.body.startswith(str(status).encode())


def test_a_request_that_names_no_host_is_not_led_to_one(
    gateway: Gateway, quiet: Rig
) -> None:
    client = quiet.client(gateway)
    client.send(b"GET /secure HTTP/1.0\r\n\r\n")

    assert client.read_response().status == 400


@pytest.mark.parametrize("start", ["//evil.test", "/%5C/evil.test", "/\\evil.test"])
def test_no_path_leads_to_another_host(rig: Rig, start: str) -> None:
    gateway = rig.gateway(
        upstreams={"main": {"endpoints": [addresses.unused()]}},
        routes=[{"name": "slash", "redirect": {"to": "{path}index"}}],
        ambiguous_paths="keep",
    )
    location = gateway.fetch("GET", start + "/").value("location")

    assert location.startswith(b"/")
    assert location[1:2] not in {b"/", b"\\"}


@pytest.mark.parametrize(
    ("to", "target", "location"),
    [
        ("{path}/", "/", b"/"),
        ("{path}/index.html", "/", b"/index.html"),
        ("/{query}{path}", "/evil.test", b"/evil.test"),
    ],
)
def test_nor_do_pieces_that_are_empty(
    rig: Rig, to: str, target: str, location: bytes
) -> None:
    gateway = rig.gateway(
        upstreams={"main": {"endpoints": [addresses.unused()]}},
        routes=[{"name": "main", "redirect": {"to": to}}],
    )

    assert gateway.fetch("GET", target).value("location") == location


def test_what_follows_a_hope_for_a_tunnel_is_no_request(
    gateway: Gateway, quiet: Rig
) -> None:
    client = quiet.client(gateway)
    hope = {"Connection": "Upgrade", "Upgrade": "websocket"}
    client.send(request("GET", "/robots.txt", hope) + request("GET", "/gone"))

    assert client.read_response().status == 200
    assert client.read_to_end() == b""


def test_a_target_too_long_for_a_location_is_refused(rig: Rig) -> None:
    gateway = rig.gateway(
        upstreams={"main": {"endpoints": [addresses.unused()]}},
        routes=[{"name": "all", "redirect": {"to": "https://{host}{path}{query}"}}],
        max_header="60k",
        max_target="50k",
    )
    answer = gateway.fetch("GET", "/?" + "<" * 40_000)

    assert answer.status == 414


# --- error pages ------------------------------------------------------------------


def test_a_page_stands_in_for_the_line_of_text(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/down")

    assert (answer.status, answer.body) == (503, PAGE)
    assert answer.value("content-type") == b"text/html"


def test_a_routes_own_page_goes_before_the_gateways(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/own")

    assert (answer.status, answer.body) == (503, b'{"error": "down"}')
    assert answer.value("content-type") == b"application/json"


def test_where_no_route_is_found_the_gateways_page_is_said(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/nowhere")

    assert (answer.status, answer.body) == (404, b"nothing here\n")


def test_the_head_of_a_page_comes_without_it(gateway: Gateway) -> None:
    answer = gateway.fetch("HEAD", "/down")

    assert answer.value("content-length") == str(len(PAGE)).encode()
    assert answer.body == b""


def test_what_an_endpoint_answers_passes_as_it_is(gateway: Gateway) -> None:
    answer = gateway.fetch("GET", "/up")

    assert (answer.status, answer.body) == (502, b"the origin's own")


def test_a_refused_head_is_answered_by_the_gateways_page(rig: Rig) -> None:
    page = Path(rig.directory) / "bad.txt"
    page.write_bytes(b"say that again\n")
    gateway = rig.gateway(rig.origin(), error_pages={"4xx": str(page)})
    client = rig.client(gateway)
    client.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    answer = client.read_response()

    assert (answer.status, answer.body) == (400, b"say that again\n")


# --- both -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_page_that_is_not_there_is_told_before_anything_runs(
    tmp_path: Path, command: str
) -> None:
    path = tmp_path / "fastgate.toml"
    path.write_text(
        '[gateway]\nerror_pages = { 502 = "/nowhere/502.html" }\n'
        '[listeners.main]\naddresses = ["127.0.0.1:0"]\n'
        '[[routes]]\nname = "main"\nrespond = { status = 404 }\n'
    )
    result = run_cli(command, "--config", str(path))

    assert result.returncode == 3
    assert "'/nowhere/502.html' cannot be read: no such file" in result.stderr


def test_the_log_has_a_line_of_them_without_an_endpoint(
    gateway: Gateway, quiet: Rig
) -> None:
    gateway.fetch("GET", "/robots.txt?logged")
    path = Path(quiet.directory) / "access.log"

    def line() -> dict[str, Any] | None:
        lines = [json.loads(one) for one in path.read_text().splitlines()]
        return next((one for one in lines if "logged" in one["request"]), None)

    written = eventually(line)
    assert (written["status"], written["route"]) == (200, "robots")
    assert not written.get("endpoint")
