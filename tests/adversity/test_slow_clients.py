"""Slow, partial and half-open clients: they cost little and harm nobody."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from support.client import Client, request
from support.gateway import descriptors, resident_bytes
from support.origin import pattern, serve
from support.rig import Rig
from support.waiting import Stopwatch, eventually

KIB = 1024
MIB = 1024 * KIB


def test_slow_heads_do_not_hold_up_the_others(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), header_timeout="2s")
    slow = [rig.client(gateway) for _ in range(300)]
    for client in slow:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    watch = Stopwatch()
    with gateway.client() as quick:
        for _ in range(200):
            assert quick.ask("GET", "/size/1").status == 200
    assert watch.seconds < 2

    for client in slow:
        raw, _ = client.read_to_any_end()
        assert raw.startswith(b"HTTP/1.1 408 ")
    assert watch.seconds < 4


def test_a_head_in_single_bytes_is_a_head(rig: Rig) -> None:
    client = rig.client(rig.gateway(rig.origin()))
    data = request("GET", "/size/7", {"X-A": "b" * 5000})
    client.send(data, cuts=range(1, len(data)))

    assert client.read_response().body == pattern(7)


@pytest.mark.slow
def test_the_cost_of_a_head_in_single_bytes_is_linear(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    (pid,) = gateway.worker_pids()

    def cost_us(size: int) -> float:
        """CPU of the worker for each byte of a head that long."""
        data = request("GET", "/size/1", {"X-A": "b" * size})
        client = rig.client(gateway)
        before = cpu_us(pid)
        client.send(data, cuts=range(1, len(data)))
        assert client.read_response().status == 200
        return (cpu_us(pid) - before) / len(data)

    cost_us(8_000)
    assert cost_us(30_000) <= 3 * cost_us(8_000)


def cpu_us(pid: int) -> float:
    """CPU time of a process so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


@pytest.mark.slow
def test_connections_that_hold_half_a_head_are_small(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), header_timeout="30s")
    (pid,) = gateway.worker_pids()
    half = request("GET", "/size/1", {"User-Agent": "m" * 300, "Cookie": "c" * 300})
    with gateway.client() as client:
        client.ask("GET", "/size/1")
    before = resident_bytes(pid)
    count = 400
    clients = [rig.client(gateway) for _ in range(count)]
    for client in clients:
        client.send(half[:-4])
    eventually(lambda: len(descriptors(pid)) >= count, within_s=5)
    grown = resident_bytes(pid) - before

    assert grown <= count * 6 * KIB + 256 * KIB
    for client in clients:
        client.send(half[-4:])
        assert client.read_response().status == 200


@pytest.mark.slow
def test_idle_connections_own_next_to_nothing(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    (pid,) = gateway.worker_pids()
    with gateway.client() as client:
        client.ask("GET", "/size/1")
    before = resident_bytes(pid)
    count = 900
    for _ in range(count):
        client = rig.client(gateway)
        assert client.ask("GET", "/size/1").status == 200
    grown = resident_bytes(pid) - before

    assert grown <= count * KIB + 256 * KIB


def test_the_kernel_does_not_swallow_an_answer_that_nobody_reads(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    client = rig.client(gateway, receive_buffer_bytes=2304)
    client.send(request("GET", "/size/4000000"))
    eventually(lambda: gateway.workers()[0]["bytes_out"] > 1_000_000, within_s=5)

    # So its reader is judged: an exchange that has ended has no timer.
    assert gateway.workers()[0]["exchanges"] == 1


def test_readers_that_drip_are_all_let_go(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), send_timeout="1s", min_send_rate="50kB/s")
    readers = [rig.client(gateway, receive_buffer_bytes=2304) for _ in range(100)]
    for reader in readers:
        reader.send(request("GET", "/size/1000000"))
    honest = rig.client(gateway)
    watch = Stopwatch()
    while readers and watch.seconds < 10:
        assert honest.ask("GET", "/size/1").status == 200
        for reader in list(readers):
            try:
                reader.sock.recv(1)
            except ConnectionResetError:
                readers.remove(reader)

    assert not readers
    eventually(lambda: gateway.workers()[0]["connections"] == 1)


def test_clients_that_reset_at_any_point_leave_nothing(rig: Rig) -> None:
    """RST before, inside and behind a head, a body and an answer."""
    origin = rig.origin()
    gateway = rig.gateway(origin, workers=2)
    whole = request("POST", "/any", body=pattern(3000))
    for cut in range(0, len(whole) + 1, 40):
        client = gateway.client()
        client.send(whole[:cut])
        client.reset()
    for wait in range(40):
        client = gateway.client()
        client.send(request("GET", "/size/2000000"))
        if wait % 2:
            client.read_some()
        client.reset()

    assert gateway.fetch("GET", "/size/1").status == 200
    eventually(
        lambda: set(gateway.in_flight().values()) == {0}, what="all counts settled"
    )


def test_clients_that_half_close_at_any_point_leave_nothing(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin)
    whole = request("POST", "/any", body=pattern(300))
    for cut in [*range(0, len(whole), 10), len(whole)]:
        client = rig.client(gateway)
        client.send(whole[:cut])
        client.half_close()
        raw, _ = client.read_to_any_end()
        status = raw[9:12]
        if cut == len(whole):
            assert status == b"200"
        else:
            assert status in (b"", b"400", b"408"), cut

    assert len(origin.requests) == 1


def test_a_slow_reader_gets_everything_in_the_end(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    client = rig.client(gateway, receive_buffer_bytes=4096)
    size = 3 * MIB
    client.send(request("GET", f"/size/{size}"))
    data = bytearray()
    for _ in range(50):
        data += client.sock.recv(1000)
        time.sleep(0.002)
    while len(data) < size:
        data += client.read_some()
    client.unread = bytes(data)

    assert client.read_response().body == pattern(size)


def test_a_slow_uploader_is_served_while_it_keeps_the_rate(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), body_timeout="500ms")
    client = rig.client(gateway)
    client.send(request("POST", "/any", {"Content-Length": "3000"}))
    body = pattern(3000)
    for start in range(0, 3000, 300):
        assert client.is_open(0.1)
        client.send(body[start : start + 300])

    assert client.read_response("POST").status == 200


def test_a_connection_flood_over_the_backlog_is_served_in_the_end(rig: Rig) -> None:
    origin = rig.origin()
    origin.forget(serve)
    gateway = rig.gateway(origin, workers=2)
    socks = []
    for _ in range(400):
        client = Client(gateway.address)
        rig.clients.append(client)
        socks.append(client)
    for client in socks:
        client.send(request("GET", "/size/10"))

    assert {client.read_response().status for client in socks} == {200}


def test_urgent_data_harms_only_its_sender(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), header_timeout="500ms")
    client = rig.client(gateway)
    client.send(b"GET /size/1 HTTP/1.1\r\nHost: a\r\n")
    client.sock.send(b"!", socket.MSG_OOB)
    client.send(b"\r\n")

    assert gateway.fetch("GET", "/size/1").status == 200
    assert client.read_response().status in (200, 400, 408)
