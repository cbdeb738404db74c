"""What `fastgate status` and the admin socket tell."""

from __future__ import annotations

import http.client
import json
import os
import stat
import threading

from support import addresses
from support.client import request
from support.gateway import UnixConnection, run_cli
from support.origin import OriginConnection, hold, response, silent
from support.rig import Rig
from support.waiting import eventually


def test_the_status_names_workers_and_endpoints(rig: Rig) -> None:
    a, b = rig.origin(), rig.origin()
    gateway = rig.gateway(a, {"address": b.address, "weight": 3}, workers=2)
    status = gateway.status()

    assert [worker["slot"] for worker in status["workers"]] == [0, 1]
    assert all(os.path.exists(f"/proc/{w['pid']}") for w in status["workers"])
    assert len({worker["generation"] for worker in status["workers"]}) == 1
    endpoints = status["upstreams"]["main"]["endpoints"]
    assert [(e["address"], e["weight"], e["state"]) for e in endpoints] == [
        (a.address, 1, "up"),
        (b.address, 3, "up"),
    ]
    assert all(e["in_flight"] == e["total"] == e["failures"] == 0 for e in endpoints)


def test_the_command_prints_what_the_socket_serves(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin)
    printed = run_cli("status", "--admin-socket", gateway.admin_socket, "--json")
    table = run_cli("status", "--admin-socket", gateway.admin_socket)

    assert printed.returncode == table.returncode == 0
    wanted = gateway.status()
    found = json.loads(printed.stdout)
    assert found["workers"][0]["pid"] == wanted["workers"][0]["pid"]
    assert found["upstreams"].keys() == wanted["upstreams"].keys()
    assert origin.address in table.stdout
    assert str(wanted["workers"][0]["pid"]) in table.stdout
    assert gateway.address in table.stdout


def test_without_a_gateway_the_command_says_so(rig: Rig) -> None:
    answer = run_cli("status", "--admin-socket", f"{rig.directory}/none.sock")

    assert answer.returncode != 0
    assert "none.sock" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_totals_and_failures_are_counted_over_all_workers(rig: Rig) -> None:
    origin = rig.origin()
    dead = addresses.unused()
    gateway = rig.gateway(
        upstreams={
            "main": {"endpoints": [origin.address]},
            "dead": {"endpoints": [dead], "retries": 0, "eject": "off"},
        },
        routes=[
            {"name": "dead", "match": {"path": "/dead"}, "upstream": "dead"},
            {"name": "main", "upstream": "main"},
        ],
        workers=2,
    )
    for _ in range(20):
        assert gateway.fetch("GET", "/size/1").status == 200
    for _ in range(6):
        assert gateway.fetch("GET", "/dead").status == 503

    assert gateway.endpoints()[origin.address]["total"] == 20
    assert gateway.endpoints()[origin.address]["failures"] == 0
    assert gateway.endpoints("dead")[dead]["failures"] == 6


def test_in_flight_is_the_truth_over_all_workers(rig: Rig) -> None:
    gate = threading.Event()
    origin = rig.origin(hold(gate, response(200, b"ok")))
    gateway = rig.gateway(origin, workers=2)
    clients = [rig.client(gateway) for _ in range(17)]
    for client in clients:
        client.send(request())
    origin.wait_for_requests(17)
    assert gateway.in_flight() == {origin.address: 17}
    for client in clients[:5]:
        client.reset()
    eventually(lambda: gateway.in_flight() == {origin.address: 12})
    gate.set()

    assert [c.read_response().status for c in clients[5:]] == [200] * 12
    eventually(lambda: gateway.in_flight() == {origin.address: 0})


WAYS = ["timeout", "reset", "bad", "cut", "no-body"]


def test_every_end_of_an_exchange_settles_its_count(rig: Rig) -> None:
    way = ""

    def script(connection: OriginConnection) -> None:
        if not connection.read_request():
            return
        if way == "timeout":
            connection.wait_closed()
        elif way == "reset":
            connection.reset()
        elif way == "bad":
            connection.send(b"not http\r\n\r\n")
        elif way == "cut":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
        else:
            # Kept open in name only, it would be used again, and the request
            # replayed: one more lease.
            connection.send(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")

    origin = rig.origin(script)
    gateway = rig.gateway(origin, upstream_timeout="200ms", retries=0, eject="off")
    for n, way in enumerate(WAYS, 1):
        for _ in range(5):
            with gateway.client() as client:
                client.send(request(headers={"Connection": "close"}))
                if way == "cut":
                    # Gone before the cut, the client would be to blame. It gets what
                    # came, or a 502 if the cut was there before anything had left.
                    client.read_to_any_end()
                else:
                    client.has_answer(2)
        eventually(lambda: gateway.in_flight() == {origin.address: 0}, what=way)
        endpoint = gateway.endpoints()[origin.address]
        assert endpoint["total"] == 5 * n, way
        assert endpoint["failures"] == 5 * min(n, WAYS.index("no-body")), way


def test_the_admin_socket_serves_nothing_else(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    for method, path in [
        ("GET", "/statusx"),
        ("GET", "/"),
        ("GET", "/../status/x"),
        ("DELETE", "/status"),
    ]:
        connection = UnixConnection(gateway.admin_socket)
        connection.request(method, path)
        answer: http.client.HTTPResponse = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status in (404, 405), path


def test_the_admin_socket_is_its_owners_alone_and_goes_away(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    mode = os.stat(gateway.admin_socket).st_mode
    assert stat.S_ISSOCK(mode)
    assert not mode & stat.S_IRWXO
    gateway.stop()

    assert not os.path.exists(gateway.admin_socket)


def test_the_status_answers_while_every_request_is_stuck(rig: Rig) -> None:
    origin = rig.origin(silent)
    gateway = rig.gateway(origin, workers=1)
    for _ in range(10):
        rig.client(gateway).send(request())
    origin.wait_for_requests(10)

    assert gateway.in_flight() == {origin.address: 10}
