"""The access log, line by line, and the reasons it gives."""

from __future__ import annotations

import base64
import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from support import addresses
from support.client import fetch, request
from support.gateway import Gateway
from support.origin import Script, hold, once, response, serve, silent
from support.rig import Rig
from support.waiting import eventually

COMBINED = re.compile(
    r"(?P<client>\S+) - (?P<user>\S+) "
    r"\[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)


class Logged:
    """A gateway that writes its access log to a file at once."""

    def __init__(self, rig: Rig, kind: str, *endpoints: Any, **settings: Any) -> None:
        self.origin = rig.origin()
        settings.setdefault("access_log_flush", "50ms")
        self.path = Path(rig.directory) / "access.log"
        self.gateway: Gateway = rig.gateway(
            *(endpoints or (self.origin,)),
            access_log=str(self.path),
            access_log_format=kind,
            **settings,
        )

    def lines(self, count: int = 1, *, within_s: float = 3.0) -> list[str]:
        """The lines so far, when there are at least `count`."""

        def read() -> list[str]:
            if not self.path.exists():
                return []
            found = self.path.read_text("latin-1").splitlines()
            return found if len(found) >= count else []

        return eventually(read, within_s=within_s, what=f"{count} lines")


def test_a_combined_line_is_nginxs_to_the_byte(rig: Rig) -> None:
    log = Logged(rig, "combined")
    user = base64.b64encode(b"ann:secret").decode()
    log.gateway.fetch(
        "GET",
        "/size/1234?x=/y",
        {
            "Referer": "http://a.example/b",
            "User-Agent": "curl/7.88.1",
            "Authorization": f"Basic {user}",
        },
        source="127.0.0.5",
    )
    (line,) = log.lines()
    found = COMBINED.fullmatch(line)

    assert found, line
    assert found.groupdict() == {
        "client": "127.0.0.5",
        "user": "ann",
        "time": found["time"],
        "request": "GET /size/1234?x=/y HTTP/1.1",
        "status": "200",
        "bytes": "1234",
        "referer": "http://a.example/b",
        "agent": "curl/7.88.1",
    }


@pytest.mark.parametrize("kind", ["combined", "json"])
def test_the_client_of_a_front_proxy_is_logged_where_it_is_trusted(
    rig: Rig, kind: str
) -> None:
    listeners = {
        "front": {"address": f"unix:{rig.directory}/front.sock"},
        "tcp": {"address": "127.0.0.1:0"},
    }
    log = Logged(rig, kind, listeners=listeners, trusted_proxies=["unix"])
    told = {"X-Forwarded-For": "6.6.6.6, 203.0.113.5"}
    for name, headers in (("front", told), ("front", {}), ("tcp", told)):
        fetch(log.gateway.listeners[name][0], "GET", "/size/1", headers)

    lines = log.lines(3)
    if kind == "json":
        clients = [json.loads(line)["client"] for line in lines]
    else:
        clients = [line.split()[0] for line in lines]
    assert clients == ["203.0.113.5", "unix:", "127.0.0.1"]


def test_a_combined_line_has_dashes_for_what_was_not_there(rig: Rig) -> None:
    log = Logged(rig, "combined")
    log.gateway.fetch("HEAD", "/size/9", version="1.0")
    (line,) = log.lines()

    assert re.sub(r"\[.*?\]", "[T]", line) == (
        '127.0.0.1 - - [T] "HEAD /size/9 HTTP/1.0" 200 0 "-" "-"'
    )


def test_a_combined_line_cannot_be_forged(rig: Rig) -> None:
    log = Logged(rig, "combined")
    client = rig.client(log.gateway)
    client.send(
        b"GET /size/1 HTTP/1.1\r\nHost: a\r\n"
        b'User-Agent: "quoted" \\ back\tslash \xe9\r\n\r\n'
    )
    assert client.read_response().status == 200
    (line,) = log.lines()

    assert line.endswith(r'"\x22quoted\x22 \x5C back\x09slash \xE9"')


def test_a_bad_request_is_logged_too(rig: Rig) -> None:
    log = Logged(rig, "combined")
    client = rig.client(log.gateway)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert client.read_response().status == 400

    (line,) = log.lines()
    assert " 400 " in line


def test_each_json_line_parses_and_tells_the_request(rig: Rig) -> None:
    log = Logged(rig, "json")
    agent = 'quote " back \\ \t \xe9 end'
    log.gateway.fetch("POST", "/any?q=1", {"User-Agent": agent}, b"12345")
    log.gateway.fetch("GET", "/status/404")
    first, second = (json.loads(line) for line in log.lines(2))

    assert first["request"] == "POST /any?q=1 HTTP/1.1"
    assert (first["status"], first["bytes_in"]) == (200, 5)
    assert first["client"] == "127.0.0.1"
    assert first["endpoint"] == log.origin.address
    assert first["route"] == first["upstream"] == "main"
    assert second["status"] == 404
    assert first["reason"] is second["reason"] is None


def test_a_refused_request_shows_what_was_sent_escaped_and_cut(rig: Rig) -> None:
    log = Logged(rig, "combined")
    sent = [
        b'GET /a"b HTTP/1.1\r\nHost: a\r\nUser-Agent: odd\r\nHost: b\r\n\r\n',
        b"GET  /\x01 nonsense\r\nuser-agent:  scan\x7fner\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01" + b"x" * 1000 + b"\r\n\r\n",
    ]
    for head in sent:
        client = rig.client(log.gateway)
        client.send(head)
        assert client.read_response().status == 400
    lines = log.lines(3)

    first, second, third = (line.split("] ", 1)[1] for line in lines)
    assert first.startswith(r'"GET /a\x22b HTTP/1.1" 400 ')
    assert first.endswith(' "-" "odd"')
    assert second.startswith(r'"GET  /\x01 nonsense" 400 ')
    assert second.endswith(r' "-" "scan\x7Fner"')
    assert third.startswith(r'"\x16\x03\x01\x02\x00\x01' + "x" * 250 + '" 400 ')


def test_a_head_that_does_not_come_to_its_end_shows_what_came(rig: Rig) -> None:
    log = Logged(rig, "combined", header_timeout="200ms")
    client = rig.client(log.gateway)
    client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\nX-")
    assert client.read_response().status == 408

    assert '"GET /slow HTTP/1.1" 408 ' in log.lines()[0]


@pytest.mark.parametrize(
    ("route", "sent"),
    [
        ({}, "mine"),
        ({}, "two words"),
        ({"request_headers": {"set": {"X-Request-ID": "set-by-rule"}}}, "mine"),
        ({"request_headers": {"remove": ["X-Request-ID"]}}, "mine"),
    ],
)
@pytest.mark.parametrize("kind", ["json", "combined-plus"])
def test_the_request_id_in_the_log_is_the_one_sent_upstream(
    rig: Rig, route: dict[str, Any], sent: str, kind: str
) -> None:
    log = Logged(rig, kind, route=route)
    log.gateway.fetch("GET", "/any", {"X-Request-ID": sent})
    (line,) = log.lines()
    (asked,) = log.origin.requests
    there = (asked.value("x-request-id") or b"").decode() or None

    if kind == "json":
        assert json.loads(line)["request_id"] == there
    else:
        assert line.endswith(f' "{there or "-"}"')


def test_no_byte_of_a_request_breaks_a_json_line(rig: Rig) -> None:
    log = Logged(rig, "json")
    client = rig.client(log.gateway)
    values = [bytes([n]) for n in (*range(0x20, 0x7F), *range(0x80, 0x100), 9)]
    for value in values:
        client.send(
            b"GET /size/1 HTTP/1.1\r\nHost: a\r\nUser-Agent: a%bb\r\n"
            b"Referer: %b\xff\xfe%b\r\n\r\n" % (value, value, value)
        )
        assert client.read_response().status == 200
    lines = log.path.read_bytes().splitlines() if log.lines(len(values)) else []

    for line in lines:
        assert json.loads(line.decode("utf-8"))["status"] == 200
    assert len(lines) == len(values)


def test_a_very_long_request_makes_one_bounded_line(rig: Rig) -> None:
    log = Logged(rig, "json")
    log.gateway.fetch("GET", "/any?" + "q" * 16000, {"User-Agent": "u" * 14000})
    (line,) = log.lines()

    assert len(line) <= 64 * 1024
    assert json.loads(line)["status"] == 200


REASONS: dict[str, tuple[Script, dict[str, Any]]] = {
    "upstream-timeout": (silent, {"upstream_timeout": "200ms"}),
    "upstream-reset": (once(b"", end="reset"), {}),
    "upstream-bad-response": (once(b"SSH-2.0-OpenSSH\r\n\r\n"), {}),
    "upstream-connect": (silent, {"endpoints": [addresses.unused()]}),
    "deadline": (silent, {"deadline": "200ms"}),
}


def test_each_abnormal_end_has_its_reason(rig: Rig) -> None:
    origins = {name: rig.origin(script) for name, (script, _) in REASONS.items()}
    log = Logged(
        rig,
        "json",
        retries=0,
        eject="off",
        upstreams={
            name: {"endpoints": [origins[name].address]} | keys
            for name, (_, keys) in REASONS.items()
        },
        routes=[
            {"name": name, "match": {"host": name}, "upstream": name}
            for name in REASONS
        ],
    )
    answers = {name: log.gateway.fetch(host=name) for name in REASONS}
    answers["no-route"] = log.gateway.fetch(host="elsewhere")
    found = [json.loads(line) for line in log.lines(len(answers))]

    assert [(one["reason"], one["status"]) for one in found] == [
        (name, answer.status) for name, answer in answers.items()
    ]


def test_a_client_that_leaves_is_logged_as_such(rig: Rig) -> None:
    origin = rig.origin(silent)
    log = Logged(rig, "json", origin)
    client = rig.client(log.gateway)
    client.send(request())
    origin.wait_for_requests(1)
    client.reset()
    (line,) = log.lines()

    assert json.loads(line)["reason"] == "client-abort"
    assert json.loads(line)["status"] == 499


def test_an_answer_that_breaks_off_is_logged_as_such(rig: Rig) -> None:
    origin = rig.origin(once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"))
    log = Logged(rig, "json", origin)
    client = rig.client(log.gateway)
    client.send(request(headers={"Connection": "close"}))
    client.read_to_any_end()
    (line,) = log.lines()

    assert json.loads(line)["reason"].startswith("upstream-")


def test_usr1_reopens_the_log(rig: Rig) -> None:
    log = Logged(rig, "combined", workers=2)
    for _ in range(6):
        log.gateway.fetch("GET", "/size/1")
    log.lines(6)
    rotated = log.path.with_suffix(".1")
    log.path.rename(rotated)
    log.gateway.signal(signal.SIGUSR1)
    eventually(log.path.exists, within_s=3, what="a new file")

    def settled() -> bool:
        """Every worker has turned to the new file: none writes to the old one."""
        before = len(rotated.read_text().splitlines())
        for _ in range(12):
            log.gateway.fetch("GET", "/size/2")
        new = len(log.lines(1))
        return len(rotated.read_text().splitlines()) == before and new >= 12

    eventually(settled, within_s=5)


def test_lines_wait_in_the_buffer_and_are_flushed_at_the_end(rig: Rig) -> None:
    log = Logged(rig, "combined", access_log_flush="60s")
    for _ in range(10):
        log.gateway.fetch("GET", "/size/1")
    assert not log.path.read_text()
    assert log.gateway.stop() == 0

    assert len(log.lines(10)) == 10


def test_the_log_can_go_to_stdout(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), access_log="stdout", access_log_flush="50ms")
    gateway.fetch("GET", "/size/1")

    (found,) = gateway.stdout.wait_for(COMBINED)
    assert found["request"] == "GET /size/1 HTTP/1.1"


def test_nothing_is_printed_per_request_by_default(rig: Rig) -> None:
    origin = rig.origin(serve)
    gateway = rig.gateway(origin)
    before = len(gateway.stderr.lines), len(gateway.stdout.lines)
    client = rig.client(gateway)
    for _ in range(50):
        client.ask("GET", "/status/404")

    assert (len(gateway.stderr.lines), len(gateway.stdout.lines)) == before


def test_requests_under_way_are_logged_when_they_end(rig: Rig) -> None:
    gate = threading.Event()
    origin = rig.origin(hold(gate, response(200, b"ok")))
    log = Logged(rig, "combined", origin)
    client = rig.client(log.gateway)
    client.send(request("GET", "/held"))
    origin.wait_for_requests(1)
    assert log.path.read_text() == ""
    gate.set()

    assert client.read_response().status == 200
    assert '"GET /held HTTP/1.1" 200 2 ' in log.lines()[0]


def test_the_json_line_names_both_routes_of_an_ambiguous_path(rig: Rig) -> None:
    routes = [
        {"name": name, "match": {"path_prefix": f"/{name}"}, "upstream": "main"}
        for name in ("public", "admin")
    ]
    log = Logged(rig, "json", routes=routes)
    for target in ("/public/..%2fadmin", "/public/..%2fx", "/public/x"):
        log.gateway.fetch("GET", target)
    lines = [json.loads(line) for line in log.lines(3)]

    assert [(line["reason"], line["route"]) for line in lines] == [
        ("ambiguous-path", "public"),
        ("ambiguous-path", "public"),
        (None, "public"),
    ]
    assert lines[0]["other_route"] == "admin"
    assert lines[1]["other_route"] is None
    assert "other_route" not in lines[2]
