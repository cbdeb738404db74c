"""What an operator says of endpoints while they serve."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading

import pytest
from support.client import request
from support.gateway import Gateway, UnixConnection, run_cli
from support.origin import hold, response
from support.rig import Rig
from support.waiting import eventually


def say(gateway: Gateway, *arguments: str) -> str:
    done = run_cli(*arguments, "--admin-socket", gateway.admin_socket)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(gateway: Gateway, *arguments: str) -> str:
    done = run_cli(*arguments, "--admin-socket", gateway.admin_socket)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def shares(gateway: Gateway, rig: Rig, requests: int = 20) -> list[int]:
    before = [len(one.requests) for one in rig.origins]
    for _ in range(requests):
        assert gateway.fetch("GET", "/").status == 200
    return [len(o.requests) - n for o, n in zip(rig.origins, before, strict=True)]


def admin(gateway: Gateway) -> list[str]:
    return [one["admin"] for one in gateway.endpoints().values()]


def test_a_drained_endpoint_finishes_what_it_has_and_takes_nothing_new(
    rig: Rig,
) -> None:
    gate = threading.Event()
    slow = rig.origin(hold(gate, response(body=b"late")))
    gateway = rig.gateway(slow)
    client = rig.client(gateway)
    client.send(request("GET", "/"))
    eventually(lambda: gateway.in_flight()[slow.address] == 1)
    said = say(gateway, "drain", "main", slow.address)

    assert "is draining: draining, 1 in flight" in said
    assert gateway.fetch("GET", "/").status == 503
    late = refusal_of_wait(gateway, slow.address, "10ms")
    assert "1 still in flight after 0.01 s" in late
    gate.set()
    assert client.read_response("GET").body == b"late"
    say(gateway, "drain", "main", slow.address, "--wait", "5s")
    assert admin(gateway) == ["draining"]


def refusal_of_wait(gateway: Gateway, address: str, wait: str) -> str:
    done = run_cli(
        *("drain", "main", address, "--wait", wait),
        *("--admin-socket", gateway.admin_socket),
    )
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("command", ["drain", "disable"])
def test_an_endpoint_that_was_taken_out_comes_back(rig: Rig, command: str) -> None:
    first, second = rig.origin(), rig.origin()
    gateway = rig.gateway(first, second)
    say(gateway, command, "main", first.address)
    assert shares(gateway, rig) == [0, 20]

    say(gateway, "enable", "main", first.address)
    assert shares(gateway, rig) == [10, 10]
    events = [(e["what"], e["cause"]) for e in gateway.status()["events"]]
    words = {"drain": "draining", "disable": "disabled"}
    assert events == [
        (words[command], "by the operator"),
        ("enabled", "by the operator"),
    ]
    gateway.stderr.wait_for(
        f"endpoint {first.address} .upstream main. is enabled: by the operator"
    )


def test_a_weight_changes_the_shares_and_outlives_a_reload_and_a_steward(
    rig: Rig,
) -> None:
    first, second = rig.origin(), rig.origin()
    gateway = rig.gateway(first, second)
    say(gateway, "weight", "main", "4", first.address)
    assert shares(gateway, rig) == [16, 4]

    assert gateway.reload()[0] == 200
    assert shares(gateway, rig) == [16, 4]
    gateway.checks_quiet = False
    (steward,) = [pid for pid in gateway.session_pids() if name(pid) == "fastgate-s"]
    os.kill(steward, signal.SIGKILL)
    gateway.stderr.wait_for("steward .* was ended by SIGKILL")
    eventually(lambda: gateway.status_or_none() is not None)
    assert gateway.endpoints()[first.address]["weight"] == 4


def name(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def test_all_is_refused_when_one_is_unknown(rig: Rig) -> None:
    first, second = rig.origin(), rig.origin()
    gateway = rig.gateway(first, second)

    said = refusal(gateway, "drain", "main", first.address, "127.0.0.1:1")
    assert "upstream main has no endpoint '127.0.0.1:1'" in said
    said = refusal(gateway, "drain", "mains", first.address)
    assert "no upstream 'mains'; did you mean 'main'?" in said
    said = refusal(gateway, "weight", "main", "257", first.address)
    assert "weight: 257 is outside 1..256" in said
    assert admin(gateway) == ["enabled", "enabled"]
    assert [e["weight"] for e in gateway.endpoints().values()] == [1, 1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 60000,
        b"x" * (1 << 17),
        b'{"command": [], "upstream": "main", "addresses": ["a"]}',
        b'{"command": "weight", "upstream": "main", "addresses": [], "weight": 1}',
        b'{"command": "weight", "upstream": "main", "addresses": [3], "weight": 1}',
        b'{"command": "weight", "upstream": ["main"], "addresses": [""], "weight": 1}',
        b'{"command": "weight", "upstream": "main", "addresses": "a", "weight": true}',
    ],
)
def test_what_is_no_order_is_refused_and_nothing_breaks(rig: Rig, body: bytes) -> None:
    gateway = rig.gateway(rig.origin())
    connection = UnixConnection(gateway.admin_socket)
    connection.request("POST", "/endpoints", body)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()

    assert answer.status == http.client.CONFLICT
    assert said["ok"] is False
    assert said["lines"]
    assert gateway.fetch("GET", "/").status == 200


def test_an_order_may_come_in_pieces(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin)
    order = {"command": "drain", "upstream": "main", "addresses": [origin.address]}
    body = json.dumps(order).encode()
    connection = UnixConnection(gateway.admin_socket)
    connection.putrequest("POST", "/endpoints")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:10])
    # Who came later is answered: the steward has read what there is.
    for _ in range(3):
        assert admin(gateway) == ["enabled"]
    connection.send(body[10:])
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()

    assert (answer.status, said["ok"]) == (200, True)
    assert admin(gateway) == ["draining"]
