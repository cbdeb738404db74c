"""Clients that send too much of something."""

from __future__ import annotations

import pytest
from support.client import request
from support.gateway import Gateway, resident_bytes
from support.origin import pattern, serve
from support.rig import Rig
from support.waiting import Stopwatch, eventually

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    gateway = module_rig.gateway(module_rig.origin(), max_body="64m")
    gateway.fetch("GET", "/size/1")
    return gateway


def grown(gateway: Gateway, before: int) -> int:
    (pid,) = gateway.worker_pids()
    return resident_bytes(pid) - before


def resident(gateway: Gateway) -> int:
    (pid,) = gateway.worker_pids()
    return resident_bytes(pid)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET", "/", {"X-A": "a" * 1_000_000}), 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100_000, 431),
        (b"GET /" + b"a" * 1_000_000, 414),
    ],
    ids=["header", "headers", "target"],
)
def test_an_endless_head_is_refused_at_its_limit(
    gateway: Gateway, quiet: Rig, data: bytes, status: int
) -> None:
    before = resident(gateway)
    client = quiet.client(gateway)
    watch = Stopwatch()
    client.send_in_background(data)
    answer = client.read_response()

    assert answer.status == status
    assert watch.seconds < 1
    assert grown(gateway, before) <= 256 * KIB


def test_thousands_of_pipelined_requests_stay_in_order_and_small(
    gateway: Gateway, quiet: Rig
) -> None:
    quiet.origins[0].forget(serve)
    before = resident(gateway)
    client = quiet.client(gateway)
    count = 3000
    client.send_in_background(
        b"".join(request("GET", "/size/1", {"X-Nonce": str(n)}) for n in range(count))
    )
    for n in range(count):
        assert client.read_response().value("x-nonce") == b"%d" % n

    assert grown(gateway, before) <= 256 * KIB
    assert [one.value("x-nonce") for one in quiet.origins[0].requests] == [
        b"%d" % n for n in range(count)
    ]


def test_a_reader_of_nothing_cannot_queue_requests_without_end(
    gateway: Gateway, quiet: Rig
) -> None:
    origin = quiet.origins[0]
    origin.forget(serve)
    before = resident(gateway)
    client = quiet.client(gateway, receive_buffer_bytes=4096)
    client.send_in_background(request("GET", "/size/100000") * 10_000)
    eventually(lambda: len(origin.requests) > 0)
    client.is_open(0.5)

    assert grown(gateway, before) <= 768 * KIB
    assert len(origin.requests) < 300


def flood_of_chunks(size: int, count: int) -> bytes:
    one = b"%x\r\n%b\r\n" % (size, b"a" * size)
    head = request("POST", "/any", {"Transfer-Encoding": "chunked"})
    return head + one * count + b"0\r\n\r\n"


@pytest.mark.slow
def test_chunk_overhead_is_bounded_by_the_body(gateway: Gateway, quiet: Rig) -> None:
    """h2o's table: ten bytes a chunk are an odd client, one byte is an attack."""
    quiet.origins[0].forget(serve)
    fair = quiet.client(gateway, timeout_s=30)
    fair.send_in_background(flood_of_chunks(10, 100_000))
    assert fair.read_response("POST").status == 200
    fair.close()
    foul = quiet.client(gateway, timeout_s=30)
    foul.send_in_background(flood_of_chunks(1, 1_000_000))

    assert foul.read_response("POST").status == 400


def test_a_flood_of_refused_requests_costs_no_memory(
    gateway: Gateway, quiet: Rig
) -> None:
    before = resident(gateway)
    for _ in range(500):
        with gateway.client() as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert client.read_response().status == 400

    assert grown(gateway, before) <= 256 * KIB


def test_a_flood_of_connections_costs_no_memory_afterwards(
    gateway: Gateway, quiet: Rig
) -> None:
    for _ in range(200):
        gateway.fetch("GET", "/size/1")
    before = resident(gateway)
    for _ in range(1000):
        assert gateway.fetch("GET", "/size/1").status == 200

    assert grown(gateway, before) <= 256 * KIB


def test_large_bodies_leave_no_memory_behind(gateway: Gateway, quiet: Rig) -> None:
    quiet.origins[0].forget(serve)
    body = pattern(8_000_000)
    gateway.fetch("POST", "/any", body=body)
    before = resident(gateway)
    for _ in range(5):
        assert gateway.fetch("POST", "/any", body=body).status == 200
        assert gateway.fetch("GET", "/chunked/8000000").body == body

    assert grown(gateway, before) <= 256 * KIB


def test_a_flood_of_requests_answered_at_once_is_read_to_its_last_byte(
    rig: Rig,
) -> None:
    """Heads are cut at all places, by reads that fill the worker's buffer."""
    gateway = rig.gateway(rig.origin())
    before = gateway.worker_pids()
    for size in (84, 331, 1048):
        one = request("TRACE", "/", {"X-Fill": "x" * (size - 60)})
        n = 2 * MIB // len(one)
        client = rig.client(gateway)
        client.send_in_background(one * n)

        assert {client.read_response("TRACE").status for _ in range(n)} == {405}
        client.reset()
    assert gateway.worker_pids() == before
