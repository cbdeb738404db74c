"""At the limit of connections, a newcomer takes the place of who is idle longest."""

from __future__ import annotations

import os
import signal
import socket
import threading

from support.client import Client, request
from support.gateway import Gateway
from support.origin import hold, response
from support.rig import Rig
from support.waiting import eventually

ASK = ("GET", "/size/1")


def idle_clients(rig: Rig, gateway: Gateway, count: int) -> list[Client]:
    """Clients that were answered, in that order, and keep their connections."""
    clients = [rig.client(gateway) for _ in range(count)]
    assert [client.ask(*ASK).status for client in clients] == [200] * count
    return clients


def test_a_newcomer_takes_the_place_of_the_client_that_is_idle_longest(
    rig: Rig,
) -> None:
    gateway = rig.gateway(rig.origin(), max_conns=3)
    first, second, third = idle_clients(rig, gateway, 3)
    assert first.ask(*ASK).status == 200

    assert rig.client(gateway).ask(*ASK).status == 200

    assert second.is_closed()
    assert first.ask(*ASK).status == 200
    assert third.ask(*ASK).status == 200
    totals = gateway.status()["totals"]
    assert (totals["retired"], totals["refused"]) == (1, 0)
    gateway.stderr.wait_for(r"listener main: max_conns \(3\) is reached")


def test_a_client_that_has_begun_a_request_keeps_its_place(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), max_conns=2)
    begun, idle = idle_clients(rig, gateway, 2)
    head = request(*ASK)
    begun.send(head[:10])
    eventually(
        lambda: gateway.status()["totals"]["bytes_in"] % len(head) == 10,
        what="the partial head was read",
    )

    assert rig.client(gateway).ask(*ASK).status == 200

    assert idle.is_closed()
    begun.send(head[10:])
    assert begun.read_response().status == 200


def test_a_newcomer_is_turned_away_when_every_client_is_busy(rig: Rig) -> None:
    gate = threading.Event()
    gateway = rig.gateway(rig.origin(hold(gate, response(200, b"late"))), max_conns=2)
    busy = [rig.client(gateway) for _ in range(2)]
    for client in busy:
        client.send(request(*ASK))
    eventually(lambda: gateway.status()["totals"]["exchanges"] == 2)

    raw, _ = rig.client(gateway).read_to_any_end()

    assert raw.startswith(b"HTTP/1.1 503 ")
    gate.set()
    assert [client.read_response().status for client in busy] == [200, 200]
    totals = gateway.status()["totals"]
    assert (totals["retired"], totals["refused"]) == (0, 1)


def test_who_is_turned_away_with_its_request_unread_is_not_reset(rig: Rig) -> None:
    gate = threading.Event()
    gateway = rig.gateway(rig.origin(hold(gate, response(200, b"late"))), max_conns=1)
    busy = rig.client(gateway)
    busy.send(request(*ASK))
    eventually(lambda: gateway.status()["totals"]["exchanges"] == 1)
    (worker,) = gateway.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    late = rig.client(gateway)
    late.send(request("POST", "/", body=b"x" * 5000))
    os.kill(worker, signal.SIGCONT)

    raw, is_orderly = late.read_to_any_end()

    assert raw.startswith(b"HTTP/1.1 503 ")
    assert is_orderly
    gate.set()
    assert busy.read_response().status == 200


def test_clients_that_never_spoke_do_not_keep_others_out(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), max_conns=4)
    silent = [rig.client(gateway) for _ in range(12)]

    assert rig.client(gateway).ask(*ASK).status == 200
    assert silent[0].is_closed()


def test_an_idle_client_gives_its_descriptor_to_a_newcomer(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), nofile=128, max_conns=128)
    idle = [rig.client(gateway) for _ in range(120)]

    newcomer = rig.client(gateway)

    assert newcomer.ask(*ASK).status == 200
    assert idle[0].is_closed()
    eventually(lambda: gateway.status()["totals"]["accepted"] == 121)
    assert newcomer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
