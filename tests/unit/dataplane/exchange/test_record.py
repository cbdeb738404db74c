"""What the log line of an exchange is given: from its head, and from how it ended."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fakes import COUNTED, GET, HERE, PUT, RESPOND

MakeGate = Callable[..., Any]
MakeLog = Callable[..., "Log"]


class Log:
    """A gate with a log, which is read as JSON."""

    def __init__(self, make_gate: MakeGate, path: Path, settings: Any) -> None:
        self.path = path
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        settings.setdefault("access_log_format", "json")
        self.gate = make_gate(log_fd=fd, **settings)

    def serve(self, head: bytes, **who: Any) -> Any:
        """Ask, and answer what reaches an endpoint; the line of it."""
        client = self.gate.client(**who)
        client.ask(head)
        if client.step is not None:
            origin = self.gate.origins[-1]
            origin.answer(COUNTED)
            origin.body(b"ok")
            origin.end()
        return self.line()

    def text(self) -> str:
        """All lines."""
        self.gate.lines()
        return self.path.read_text()

    def line(self) -> Any:
        """The last line."""
        return json.loads(self.text().splitlines()[-1])


@pytest.fixture
def make_log(make_gate: MakeGate, tmp_path: Path) -> MakeLog:
    return lambda **settings: Log(make_gate, tmp_path / "log", settings)


def with_fields(*fields: bytes) -> bytes:
    return GET[:-2] + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def test_a_line_tells_of_request_and_answer(make_log: MakeLog) -> None:
    line = make_log().serve(with_fields(b"Referer: /r", b"User-Agent: curl"))

    assert line.pop("time")
    assert len(line.pop("request_id")) == 32
    assert line == {
        "client": "192.0.2.1",
        "request": "GET /a HTTP/1.1",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 2,
        "duration_ms": 0.0,
        "upstream_ms": 0.0,
        "host": "test",
        "route": "main",
        "upstream": "main",
        "endpoint": "192.0.2.10:80",
        "referer": "/r",
        "user_agent": "curl",
        "reason": None,
        "retries": 0,
    }


def test_a_field_that_was_not_sent_is_no_empty_one(make_log: MakeLog) -> None:
    log = make_log()
    line = log.serve(GET)
    assert (line["referer"], line["user_agent"]) == (None, None)
    line = log.serve(with_fields(b"Referer:", b"User-Agent:"))
    assert (line["referer"], line["user_agent"]) == ("", "")


def test_a_log_that_is_off_gets_nothing(make_gate: MakeGate, tmp_path: Path) -> None:
    log = Log(make_gate, tmp_path / "log", {"access_log": "off"})
    client = log.gate.client()
    client.ask(b"GET / HTTP/1.1\r\n\r\n")

    assert client.heard[-1] == "done"
    assert log.text() == ""


def test_each_exchange_has_its_own_line(make_log: MakeLog) -> None:
    """What was kept of the one before is gone: they use the same memory."""
    log = make_log()
    log.serve(with_fields(b"Referer: /r", b"User-Agent: curl"))
    line = log.serve(GET)

    assert (line["referer"], line["user_agent"]) == (None, None)
    assert len(log.text().splitlines()) == 2


# Who asked.


def user_of(log: Log, authorization: bytes) -> str:
    """The user in a line of the format `combined`."""
    log.gate.client().ask(with_fields(b"Authorization: " + authorization))
    log.gate.clients[-1].fail("client-abort")
    return log.text().splitlines()[-1].split()[2]


@pytest.mark.parametrize(
    ("pair", "user"),
    [
        (b"joe:secret", "joe"),
        (b"joe:", "joe"),
        (b"joe:a:b", "joe"),
        (b":secret", "-"),
        (b"joe", "-"),
        (b"", "-"),
        (b"x" * 256 + b":y", "x" * 256),
        (b"x" * 257 + b":y", "-"),
    ],
)
def test_the_user_of_basic_is_logged_and_never_the_password(
    make_log: MakeLog, pair: bytes, user: str
) -> None:
    log = make_log(access_log_format="combined")

    for scheme in (b"Basic ", b"basic ", b"BASIC "):
        assert user_of(log, scheme + base64.b64encode(pair)) == user
    assert "secret" not in log.text()


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Basic", b"Basic ", b"Basic !!!", b"Basic am9-Og==", b"Bearer am9lOng="],
)
def test_what_is_no_basic_has_no_user(make_log: MakeLog, authorization: bytes) -> None:
    assert user_of(make_log(access_log_format="combined"), authorization) == "-"


def test_who_comes_by_a_trusted_proxy_is_whom_it_names(make_log: MakeLog) -> None:
    log = make_log(trusted_proxies=["192.0.2.0/24"])
    head = with_fields(b"X-Forwarded-For: 198.51.100.7")

    assert log.serve(head, trusted=True)["client"] == "198.51.100.7"
    assert log.serve(head, trusted=False)["client"] == "192.0.2.1"


# What is too long.


def test_long_values_are_cut_and_stay_in_their_places(make_log: MakeLog) -> None:
    log = make_log()
    line = log.serve(with_fields(b"Referer: " + b"r" * 5000, b"User-Agent: curl"))

    assert set(line["referer"]) == {"r"}
    assert line["user_agent"] == "curl"
    assert line["client"] == "192.0.2.1"
    assert len(line["request_id"]) == 32


# A head that is refused.


def test_a_refused_head_is_logged_by_its_line_and_agent(make_log: MakeLog) -> None:
    line = make_log().serve(b"GET /x HTTP/1.1\r\nuser-AGENT: \t bot\r\n\r\n")

    assert line["request"] == "GET /x HTTP/1.1"
    assert line["user_agent"] == "bot"
    assert (line["status"], line["reason"]) == (400, "bad-host")
    assert (line["route"], line["upstream"], line["endpoint"]) == (None, None, None)


@pytest.mark.parametrize(
    ("head", "request_line", "agent"),
    [
        (b"\r\n\r\nGET /x HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1", None),
        (b"GET /x HTTP/1.1\nUser-Agent:bot\n\n", "GET /x HTTP/1.1", "bot"),
        (b"GET /" + b"x" * 999 + b" HTTP/1.1\r\n\r\n", "GET /" + "x" * 251, None),
        (
            b"GET / HTTP/1.1\r\nUser-Agent: " + b"b" * 999 + b"\r\n\r\n",
            "GET / HTTP/1.1",
            "b" * 256,
        ),
        (b"GET / HTTP/1.1\r\nUser-Agent:\r\n\r\n", "GET / HTTP/1.1", ""),
        (b"GET / HTTP/1.1\r\nX-User-Agent: a\r\n\r\n", "GET / HTTP/1.1", None),
        (b"G\x01T / HTTP/1.1\r\n\r\n", "G\x01T / HTTP/1.1", None),
    ],
)
def test_of_a_refused_head_whatever_came_is_cut_and_escaped(
    make_log: MakeLog, head: bytes, request_line: str, agent: str | None
) -> None:
    line = make_log().serve(head)

    assert (line["request"], line["user_agent"]) == (request_line, agent)


# How it ended.


def test_a_fault_has_its_word_and_who_failed(make_log: MakeLog) -> None:
    log = make_log()
    client = log.gate.client()
    client.ask(PUT)
    client.body(b"abc")
    log.gate.turn_clock(250)
    log.gate.origins[-1].fail("upstream-reset")
    line = log.line()

    assert (line["status"], line["reason"]) == (502, "upstream-reset")
    assert (line["bytes_in"], line["duration_ms"]) == (3, 250.0)
    assert (line["endpoint"], line["upstream_ms"]) == ("192.0.2.10:80", None)


def test_an_answer_that_broke_off_keeps_the_status_that_was_sent(
    make_log: MakeLog,
) -> None:
    log = make_log()
    client = log.gate.client()
    client.ask(GET)
    log.gate.origins[-1].answer(COUNTED)
    log.gate.origins[-1].body(b"o")
    log.gate.origins[-1].fail("upstream-cut")
    line = log.line()

    assert (line["status"], line["reason"]) == (200, "upstream-cut")
    assert line["bytes_out"] == 1


def test_who_left_before_an_answer_has_499(make_log: MakeLog) -> None:
    log = make_log()
    client = log.gate.client()
    client.ask(GET)
    client.fail("client-abort")

    assert (log.line()["status"], log.line()["reason"]) == (499, "client-abort")


def test_the_endpoint_that_answered_and_the_retries_are_told(
    make_log: MakeLog,
) -> None:
    log = make_log(endpoints=2)
    log.gate.opens = ["upstream-connect"]
    line = log.serve(GET)
    answered = int(log.gate.asked[-1].removeprefix("open "))

    assert (line["retries"], line["reason"]) == (1, None)
    assert line["endpoint"] == f"192.0.2.{10 + answered}:80"


def test_what_was_answered_from_memory_has_a_route_and_no_endpoint(
    make_log: MakeLog,
) -> None:
    line = make_log(routes=[RESPOND]).serve(HERE)

    assert (line["route"], line["upstream"], line["endpoint"]) == ("here", None, None)
    assert (line["status"], line["upstream_ms"]) == (200, None)
