"""Routes without an upstream, and error pages, as a file writes them."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fastgate.config.bounds import PAGE_BYTES
from fastgate.config.dump import render
from fastgate.config.load import load
from fastgate.errors import ConfigError

LISTENERS = """\
[listeners.web]
address = "127.0.0.1:8080"
"""
ROUTE = LISTENERS + '[[routes]]\nname = "a"\n'

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> str:
        path = tmp_path / "fastgate.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_configuration_needs_no_upstream(write: Write) -> None:
    path = write(
        '[gateway]\nerror_pages = { "5xx" = "a.html" }\n'
        + ROUTE
        + 'respond = { status = 404, body = "no\\n" }\n'
        + 'error_pages = { 404 = "b.txt" }\n'
        + '[[routes]]\nname = "b"\nmatch.path = "/b"\n'
        + 'redirect = { to = "https://example.org{path}", status = 308 }\n'
    )
    loaded = load(path, {}, {})
    respond, redirect = loaded.config.routes

    assert respond.respond is not None
    assert (respond.respond.status, respond.respond.body) == (404, "no\n")
    assert respond.respond.content_type == "text/plain; charset=utf-8"
    assert respond.error_pages == {"404": "b.txt"}
    assert redirect.redirect is not None
    assert (redirect.redirect.to, redirect.redirect.status) == (
        "https://example.org{path}",
        308,
    )
    assert loaded.config.gateway.error_pages == {"5xx": "a.html"}


def test_what_is_printed_loads_to_the_same(write: Write) -> None:
    path = write(
        '[gateway.error_pages]\n502 = "a.html"\n'
        + ROUTE
        + 'respond = { status = 503, body = "{}\\n", content_type = "text/x" }\n'
        + '[[routes]]\nname = "b"\nmatch.path = "/b"\nredirect.to = "/c?{host}"\n'
        + 'error_pages = { 4xx = "b.txt" }\n'
    )
    loaded = load(path, {}, {})
    printed = render(loaded)

    assert tomllib.loads(printed)["gateway"]["error_pages"] == {"502": "a.html"}
    assert load(write(printed), {}, {}).config == loaded.config


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "3:3: routes[0]: leads nowhere: it needs upstream, respond or redirect"),
        (
            'upstream = "u"\nrespond.status = 404',
            "6:1: respond: contradicts upstream: give one of the two",
        ),
        (
            'redirect.to = "http://b/"\nrespond.status = 404',
            "5:1: redirect: contradicts respond: give one of the two",
        ),
        (
            'respond.status = 404\nhost = "keep"',
            "6:1: host: means nothing with respond, only with upstream",
        ),
        (
            'redirect.to = "http://b/"\nrequest_headers = {}',
            "6:1: request_headers: means nothing with redirect",
        ),
        (
            'redirect.to = "http://b/"\ndeadline = "5s"',
            "6:1: deadline: means nothing with redirect",
        ),
        ("respond = {}", "5:1: missing key 'status' in respond of [[routes]]"),
        ("respond = 404", "5:1: respond: 404 is not a table"),
        ("respond = { status = 199 }", "5:13: status: 199 is outside 200..599"),
        ("respond = { status = 600 }", "5:13: status: 600 is outside 200..599"),
        ("respond = { status = -1 }", "5:13: status: "),
        ('respond = { status = "ok" }', "5:13: status: "),
        ("respond = { status = 200.5 }", "5:13: status: "),
        ("respond = { status = true }", "5:13: status: "),
        (
            'respond = { status = 204, body = "a" }',
            "5:27: body: an answer with status 204 has none",
        ),
        (
            'respond = { status = 404, body = "a\\u0000" }',
            "5:27: body: it holds a control character",
        ),
        (
            'respond = { status = 404, body = "a\\u001b[2J" }',
            "5:27: body: it holds a control character",
        ),
        ("respond = { status = 404, body = 5 }", "5:27: body: 5 is not a text"),
        (
            'respond = { status = 404, body = "a", content_type = "html" }',
            "5:39: content_type: 'html' is not a media type",
        ),
        (
            'respond = { status = 404, body = "a", content_type = "a/b\\r\\nX: y" }',
            "5:39: content_type: ",
        ),
        (
            'respond = { status = 404, content_type = "text/html" }',
            "5:27: content_type: means nothing without a body",
        ),
        (
            'respond = { status = 404, bdoy = "a" }',
            "5:27: unknown key 'bdoy' in respond of [[routes]]; did you mean 'body'?",
        ),
        ("redirect = {}", "5:1: missing key 'to' in redirect of [[routes]]"),
        (
            'redirect = { to = "/a", status = 200 }',
            "5:25: status: 200 is not 301, 302, 303, 307, 308",
        ),
        (
            'redirect = { to = "/{hots}" }',
            "5:14: to: '{hots}' is not one of {host}, {path}, {query}, {scheme};"
            " did you mean '{host}'?",
        ),
        ('redirect = { to = "/a\\r\\nb" }', "5:14: to: "),
        (
            "respond.status = 405",
            "5:1: respond: status 405 needs Allow (RFC 9110 15.5.6): set it in"
            " response_headers",
        ),
        (
            'respond.status = 401\nresponse_headers.remove = ["WWW-Authenticate"]',
            "5:1: respond: status 401 needs WWW-Authenticate (RFC 9110 15.5.2)",
        ),
        (
            "respond.status = 407",
            "5:1: respond: status 407 needs Proxy-Authenticate (RFC 9110 15.5.8)",
        ),
        (
            "respond.status = 301",
            "5:1: respond: status 301 needs Location (RFC 9110 15.4): use redirect",
        ),
        (
            'respond.status = 308\nresponse_headers.set = { X-Location = "/" }',
            "5:1: respond: status 308 needs Location (RFC 9110 15.4): use redirect",
        ),
        (
            'redirect = { url = "/a", to = "/a" }',
            "5:14: unknown key 'url' in redirect of [[routes]]",
        ),
        (
            'respond.status = 404\nerror_pages = { 302 = "a.html" }',
            "6:17: 302: '302' is not a status with an error page: 400..599, 4xx or 5xx",
        ),
        (
            'respond.status = 404\nerror_pages = { "5x" = "a.html" }',
            "6:17: 5x: '5x' is not a status with an error page: 400..599, 4xx or 5xx;"
            " did you mean '5xx'?",
        ),
        (
            'respond.status = 404\nerror_pages = { 5xx = "a.html", 5XX = "b.html" }',
            "6:33: 5XX: '5xx' is given twice",
        ),
        (
            'respond.status = 404\nerror_pages = { 502 = "a.php" }',
            "6:17: 502: 'a.php': the Content-Type goes by the suffix, one of .html",
        ),
        (
            'respond.status = 404\nerror_pages = { 502 = "" }',
            "6:17: 502: '' is not a path",
        ),
        (
            'respond.status = 404\nerror_pages = { 502 = "a\\u0000.html" }',
            "6:17: 502: ",
        ),
        (
            "respond.status = 404\nerror_pages = { 502 = 5 }",
            "6:17: 502: 5 is not a path",
        ),
        (
            'respond.status = 404\nerror_pages = "a.html"',
            "6:1: error_pages: 'a.html' is not a table",
        ),
    ],
)
def test_a_fault_is_told_with_its_place(write: Write, lines: str, message: str) -> None:
    path = write(f"{ROUTE}{lines}\n[upstreams.u]\nendpoints = ['a:1']\n")
    with pytest.raises(ConfigError) as raised:
        load(path, {}, {})
    (problem,) = raised.value.problems

    assert str(problem).startswith(f"{path}:{message}")


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        (405, 'set = { allow = "GET" }'),
        (405, 'add = { Allow = "GET" }'),
        (405, 'set = { Allow = "" }'),
        (401, 'set = { WWW-Authenticate = "Basic" }'),
        (303, 'set = { Location = "/" }'),
        (304, "remove = []"),
    ],
)
def test_a_status_has_the_field_that_it_needs_from_response_headers(
    write: Write, status: int, rules: str
) -> None:
    path = write(f"{ROUTE}respond.status = {status}\nresponse_headers.{rules}\n")

    assert load(path, {}, {}).config.routes[0].respond is not None


@pytest.mark.parametrize("excess", [0, 1])
def test_a_body_has_64_kib_at_most(write: Write, excess: int) -> None:
    body = "ä" * (PAGE_BYTES // 2) + "a" * excess
    path = write(f'{ROUTE}respond = {{ status = 200, body = "{body}" }}\n')

    if excess:
        with pytest.raises(ConfigError, match="is longer than 65536 bytes"):
            load(path, {}, {})
    else:
        load(path, {}, {})
