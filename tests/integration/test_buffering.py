"""buffer_request: a body is read before an endpoint is bothered with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support import addresses
from support.client import Client, request
from support.gateway import Gateway
from support.origin import digest, pattern
from support.rig import Rig
from support.waiting import eventually

KIB = 1024


@pytest.fixture
def gateway(rig: Rig) -> Gateway:
    return rig.gateway(rig.origin(), buffer_request="64k", body_timeout="300ms")


@pytest.fixture
def client(rig: Rig, gateway: Gateway) -> Iterator[Client]:
    with rig.client(gateway) as one:
        yield one


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def account(answer) -> str:
    return json.loads(answer.body)["body_sha256"]


def test_a_slow_body_holds_no_endpoint(
    rig: Rig, gateway: Gateway, client: Client
) -> None:
    origin = rig.origins[0]
    body = pattern(1000)
    whole = request("POST", "/any", body=body)
    client.send(whole[:-300])
    eventually(lambda: gateway.workers()[0]["exchanges"] == 1)
    assert gateway.in_flight() == {origin.address: 0}
    assert not origin.open_connections
    client.send(whole[-300:])

    assert account(client.read_response("POST")) == digest(body)


@pytest.mark.parametrize("size", [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 1 << 20])
def test_a_body_of_any_size_arrives_whole(client: Client, size: int) -> None:
    body = pattern(size)
    for _ in range(2):
        client.send_in_background(request("PUT", "/any", body=body))

        assert account(client.read_response("PUT")) == digest(body)


@pytest.mark.parametrize("sizes", [(), (5,), (1000, 1), (40_000, 40_000)])
def test_a_chunked_body_arrives_whole(client: Client, sizes: tuple[int, ...]) -> None:
    pieces = [pattern(size) for size in sizes]
    head = request("POST", "/any", {"Transfer-Encoding": "chunked"})
    client.send(head + chunked(*pieces))

    assert account(client.read_response("POST")) == digest(b"".join(pieces))
    assert client.ask("GET", "/size/3").body == pattern(3)


def test_a_body_that_stops_reaches_nobody(
    rig: Rig, gateway: Gateway, client: Client
) -> None:
    client.send(request("POST", "/any", body=pattern(1000))[:-1])

    assert client.read_response("POST").status == 408
    assert not rig.origins[0].requests


def test_a_client_that_leaves_in_the_middle_reaches_nobody(
    rig: Rig, gateway: Gateway, client: Client
) -> None:
    client.send(request("POST", "/any", body=pattern(1000))[:-1])
    eventually(lambda: gateway.workers()[0]["exchanges"] == 1)
    client.reset()
    eventually(lambda: gateway.workers()[0]["exchanges"] == 0)

    assert not rig.origins[0].requests


def test_a_body_is_kept_while_another_endpoint_is_found(rig: Rig) -> None:
    gateway = rig.gateway(addresses.unused(), rig.origin(), buffer_request="64k")
    body = pattern(5000)

    for _ in range(4):
        answer = gateway.fetch("POST", "/any", body=body)
        assert account(answer) == digest(body)


def test_who_waits_for_100_continue_is_not_kept_waiting(client: Client) -> None:
    client.send(
        request("POST", "/any", {"Expect": "100-continue", "Content-Length": "5"})
    )
    wanted = b"HTTP/1.1 100 "
    assert client.read_exactly(len(wanted)) == wanted
    rest = client.read_exactly(4)
    while not rest.endswith(b"\r\n\r\n"):
        rest += client.read_exactly(1)
    client.send(b"hello")

    assert account(client.read_response("POST")) == digest(b"hello")
