"""`health` of an upstream, as a file writes it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.toml import SMALL
from support.toml import value as toml

from fastgate.config.dump import render
from fastgate.config.load import load
from fastgate.config.model import Health
from fastgate.config.model.health import body_matcher, parse_statuses
from fastgate.config.units import BadValueError
from fastgate.errors import ConfigError

Load = Callable[..., Any]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Load the small configuration with `health` of these keys in its upstream."""

    def load_with(**health: Any) -> Any:
        path = tmp_path / "fastgate.toml"
        upstream = "[upstreams.users]\n"
        path.write_text(SMALL.replace(upstream, f"{upstream}health = {toml(health)}\n"))
        return load(str(path), {}, {})

    return load_with


def refused(loaded: Load, **health: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(**health)
    return str(caught.value)


def test_defaults_are_those_of_an_operator_who_says_only_a_path() -> None:
    health = Health(path="/healthz")

    assert (health.method, health.interval, health.timeout) == ("GET", 2000, 1000)
    assert (health.rise, health.fall, health.jitter) == (2, 3, 10)
    assert (health.fast_interval_ms, health.initial) == (1000, "up")
    assert not health.tcp


@pytest.mark.parametrize(
    ("keys", "fast_ms"),
    [
        ({"interval": "10s"}, 5000),
        ({"interval": "150ms"}, 100),
        ({"interval": "10s", "fast_interval": "300ms"}, 300),
    ],
)
def test_the_fast_interval_is_half_unless_said(
    keys: dict[str, str], fast_ms: int
) -> None:
    assert Health(path="/", **keys).fast_interval_ms == fast_ms


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("200-399", set(range(200, 400))),
        ("200, 204", {200, 204}),
        ("200-201,503", {200, 201, 503}),
    ],
)
def test_statuses_are_ranges_and_lists(text: str, statuses: set[int]) -> None:
    assert parse_statuses(text) == statuses


def test_what_is_printed_loads_to_the_same(loaded: Load, tmp_path: Path) -> None:
    first = loaded(
        path="/healthz?deep=1",
        interval="1500ms",
        timeout=1,
        jitter="5%",
        expect=[200, 204],
        headers={"X-Probe": "1"},
        host="users.internal",
        port=81,
        initial="down",
    )
    again = tmp_path / "again.toml"
    again.write_text(render(first))

    assert load(str(again), {}, {}).config == first.config


def test_a_tcp_check_is_printed_with_its_bytes(loaded: Load, tmp_path: Path) -> None:
    first = loaded(tcp=True, send="PING\r\n", expect="+PONG")
    again = tmp_path / "again.toml"
    again.write_text(render(first))

    assert load(str(again), {}, {}).config == first.config


@pytest.mark.parametrize(
    ("health", "message"),
    [
        ({}, "needs path for a check by HTTP, or tcp = true"),
        ({"interval": "1s"}, "needs path"),
        ({"path": "healthz"}, "did you mean '/healthz'"),
        ({"path": "/a b"}, "cannot stand in a request"),
        ({"path": "/a#b"}, "cannot stand in a request"),
        ({"path": "/\u00e9"}, "cannot stand in a request"),
        ({"path": "/a\r\nX: 1"}, "cannot stand in a request"),
        ({"path": "/" + "a" * 2048}, "at most 2048 bytes"),
        ({"path": "/", "tcp": True}, "path: means nothing with tcp = true"),
        ({"tcp": True, "body": "x"}, "body: means nothing with tcp = true"),
        ({"path": "/", "send": "x"}, "send: means nothing for a check by HTTP"),
        ({"tcp": True, "send": ""}, "send: is empty"),
        ({"tcp": True, "expect": "x" * 4097}, "expect: is longer than 4096 bytes"),
        ({"path": "/", "expect": "2xx"}, "write 200-399 or 200,204"),
        ({"path": "/", "expect": "399-200"}, "write 200-399 or 200,204"),
        ({"path": "/", "expect": ""}, "write 200-399 or 200,204"),
        ({"path": "/", "method": "POST"}, "is not GET or HEAD"),
        ({"path": "/", "method": "HEAD", "body": "x"}, "its answer has no body"),
        ({"path": "/", "interval": "99ms"}, "is outside 100ms..1h"),
        ({"path": "/", "interval": "-1s"}, "is outside 100ms..1h"),
        ({"path": "/", "interval": "2h"}, "is outside 100ms..1h"),
        ({"path": "/", "timeout": "49ms"}, "is outside 50ms..10m"),
        ({"path": "/", "fast_interval": "3s"}, "is longer than interval = 2s"),
        ({"path": "/", "rise": 0}, "is outside 1..100"),
        ({"path": "/", "fall": 101}, "is outside 1..100"),
        ({"path": "/", "port": 65536}, "is outside 1..65535"),
        ({"path": "/", "jitter": "51%"}, "is outside 0%..50%"),
        ({"path": "/", "initial": "dwon"}, "did you mean 'down'"),
        ({"path": "/", "host": "a b"}, "is not a host"),
        ({"path": "/", "host": "unix:/a"}, "is not a host"),
        ({"path": "/", "headers": {"host": "a"}}, "did you mean 'host'"),
        ({"path": "/", "headers": {"Connection": "close"}}, "frames the message"),
        ({"path": "/", "headers": {"A": "b\nc"}}, "control character"),
        ({"path": "/", "body": "(a"}, "is not a pattern of RE2: missing )"),
        ({"path": "/", "body": "(a)\\1"}, "is not a pattern of RE2"),
        ({"uri": "/"}, "unknown key 'uri' in health of [upstreams.users]"),
        ({"uri": "/"}, "did you mean 'path'"),
        ({"path": "/", "inter": "2s"}, "did you mean 'interval'"),
        ({"path": "/", "fastinter": "2s"}, "did you mean 'fast_interval'"),
        ({"path": "/", "unhealthy_threshold": 2}, "did you mean 'fall'"),
        ({"path": "/", "passes": 2}, "did you mean 'rise'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    loaded: Load, health: dict[str, Any], message: str
) -> None:
    assert message in refused(loaded, **health)


def test_many_headers_are_refused(loaded: Load) -> None:
    headers = {f"X-{number}": "1" for number in range(33)}

    assert "33 fields are more than 32" in refused(loaded, path="/", headers=headers)


def test_the_name_of_others_for_the_table_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "fastgate.toml"
    table = "[upstreams.users]\n"
    path.write_text(SMALL.replace(table, table + "health_check = { path = '/' }\n"))

    with pytest.raises(ConfigError, match="did you mean 'health'"):
        load(str(path), {}, {})


def test_a_port_means_nothing_to_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "fastgate.toml"
    table = "[upstreams.users]\n"
    text = SMALL.replace(table, table + "health = { path = '/', port = 81 }\n")
    path.write_text(text.replace("127.0.0.1:9001", "unix:/run/users.sock"))

    with pytest.raises(ConfigError, match="port means nothing to 'unix:/run/users"):
        load(str(path), {}, {})


def test_a_pattern_is_looked_for_in_bytes() -> None:
    fits = body_matcher("st.tus: (ok|\u00e9)")

    assert fits(b"\xff status: ok \x00")
    assert fits("status: \u00e9".encode())
    assert not fits(b"status: bad")


def test_a_pattern_without_re2_is_refused_with_what_to_install(
    loaded: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)

    message = refused(loaded, path="/", body="ok")
    assert "which is not installed: pip install 'fastgate[re2]'" in message


def test_a_pattern_takes_time_linear_in_the_body() -> None:
    # Of what takes a backtracking engine for ever.
    assert not body_matcher("(a|aa)+$")(b"a" * 65535 + b"b")


def test_statuses_are_bounded() -> None:
    with pytest.raises(BadValueError):
        parse_statuses("0-1000")
