"""The helpers of these tests, tried without a gateway in between."""

from __future__ import annotations

import tomllib

import pytest
from support import toml
from support.client import Client, TruncatedError, fetch, request
from support.fault_proxy import Fault
from support.origin import WireError, digest, once, parse_head, pattern, response
from support.rig import Rig
from support.wirefile import join_chunks, unescape


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "unix"])
def test_the_origin_accounts_for_what_it_received(rig: Rig, family: str) -> None:
    origin = rig.origin(family=family)
    client = rig.client(origin.address)
    data = request("POST", "/echo", {"X-A": "b"}, pattern(100_000))
    client.send(data, cuts=[1, 2, 50, 70_000])
    answer = client.read_response("POST")

    assert answer.status == 200
    assert origin.received == data
    assert origin.requests[0].value("x-a") == b"b"
    assert digest(pattern(100_000)).encode() in answer.body


@pytest.mark.parametrize("kind", ["size", "chunked", "eof"])
def test_the_client_reads_every_framing(rig: Rig, kind: str) -> None:
    origin = rig.origin()

    assert fetch(origin.address, "GET", f"/{kind}/70000").body == pattern(70000)


def test_interim_and_bodiless_answers_are_read_in_order(rig: Rig) -> None:
    client = rig.client(rig.origin().address)
    client.send(request("GET", "/interim/3/103") + request("HEAD", "/size/9"))
    first = client.read_response()
    second = client.read_response("HEAD")
    third = client.ask("GET", "/status/204")

    assert [one.status for one in first.interim] == [103] * 3
    assert (first.body, second.body, third.status) == (b"final", b"", 204)


def test_a_tunnel_echoes(rig: Rig) -> None:
    client = rig.client(rig.origin().address)
    client.send(
        request("GET", "/upgrade", {"Connection": "Upgrade", "Upgrade": "echo"})
    )
    assert client.read_response(upgrade=True).status == 101
    client.send(b"ping")
    assert client.read_exactly(4) == b"ping"
    client.half_close()
    assert client.read_to_end() == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_the_origin_is_strict(head: bytes) -> None:
    with pytest.raises(WireError):
        parse_head(head)


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_cut_answer_is_seen_as_truncated(rig: Rig, kind: str) -> None:
    proxy = rig.fault_proxy(rig.origin())
    proxy.inject(Fault(kind, after=500))
    with pytest.raises(TruncatedError):
        fetch(proxy.address, "GET", "/size/1000")
    proxy.heal()

    assert fetch(proxy.address, "GET", "/size/1000").body == pattern(1000)


def test_a_stalled_answer_goes_on_when_released(rig: Rig) -> None:
    proxy = rig.fault_proxy(rig.origin())
    proxy.inject(Fault("stall", after=100))
    client = rig.client(proxy.address)
    client.send(request("GET", "/size/1000"))
    head = client.read_exactly(100)

    assert head.startswith(b"HTTP/1.1 200")
    assert client.is_open(0.1)
    proxy.heal()
    client.unread = head
    assert client.read_response().body == pattern(1000)


def test_a_trickle_and_a_half_close_pass_everything_on(rig: Rig) -> None:
    origin = rig.origin(once(response(200, b"hello")))
    proxy = rig.fault_proxy(origin)
    proxy.inject(Fault("trickle", pause_s=0.001))
    assert fetch(proxy.address).body == b"hello"

    proxy.inject(Fault("half_close", direction="request", after=20))
    client = rig.client(proxy.address)
    client.send(request())
    assert client.is_closed()
    assert origin.connections[-1].received == request()[:20]


def test_only_so_many_connections_are_struck(rig: Rig) -> None:
    proxy = rig.fault_proxy(rig.origin())
    proxy.inject(Fault("reset"), connections=1)
    with Client(proxy.address) as client, pytest.raises((TruncatedError, OSError)):
        client.ask("GET", "/size/10")

    assert fetch(proxy.address, "GET", "/size/10").body == pattern(10)


def test_escapes_stand_for_bytes() -> None:
    assert unescape(r"a\r\n\x00\s\{3*ab\t}\\") == b"a\r\n\0 ab\tab\tab\t\\"
    with pytest.raises(ValueError, match="unknown escape"):
        unescape(r"\q")


def test_chunk_borders_do_not_matter_when_streams_are_compared() -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert join_chunks(head + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\nGET") == (
        head + b"3\r\nabc\r\n0\r\n\r\nGET"
    )


def test_a_configuration_is_written_as_toml() -> None:
    config = {
        "gateway": {"workers": 2, "drain": "5s", "via": True},
        "listeners": {"main": {"addresses": ["127.0.0.1:0"]}},
        "upstreams": {"a": {"endpoints": ["b", {"address": "c", "weight": 3}]}},
        "routes": [{"name": "x", "match": {"host": "*.a"}, "upstream": "a"}],
    }

    assert tomllib.loads(toml.document(config)) == config
