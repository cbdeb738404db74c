"""The steward as part of a running gateway over the fake core."""

import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

import fastgate
from fastgate.control import admin

ROOT = Path(fastgate.__file__).parents[1]


class AdminConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def get(path, target, method="GET"):
    connection = AdminConnection(path)
    connection.request(method, target)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


@pytest.fixture
def gateway(tiny, tmp_path):
    started = tiny({"admin_socket": str(tmp_path / "admin")})
    started.admin = str(tmp_path / "admin")
    return started.wait_ready()


def test_status_holds_workers_endpoints_listeners_and_totals(gateway):
    status = json.loads(get(gateway.admin, "/status")[1])

    workers = gateway.children()[:2]
    assert [(w["slot"], w["pid"], w["state"]) for w in status["workers"]] == [
        (0, workers[0], "ready"),
        (1, workers[1], "ready"),
    ]
    assert status["upstreams"]["main"]["endpoints"][0] == {
        "address": "127.0.0.1:9",
        "state": "up",
        "admin": "enabled",
        "health": "unchecked",
        "weight": 1,
        "in_flight": 0,
        "total": 3,
        "failures": 1,
        "connects": 2,
        "latency_ms": 1.5,
        "check": None,
    }
    assert status["listeners"] == [
        {
            "name": "main",
            "address": f"127.0.0.1:{gateway.port}",
            "port": gateway.port,
            "scheme": "http",
            "is_shared": False,
            "refused_methods": [],
        }
    ]
    assert status["totals"]["requests"] == 14
    assert 0 < status["uptime_s"] < 60


def test_healthz_answers_and_nothing_else_does(gateway):
    assert get(gateway.admin, "/healthz") == (200, b"ok\n")
    assert get(gateway.admin, "/")[0] == 404
    assert get(gateway.admin, "/status", "POST")[0] == 405


def test_a_killed_steward_is_replaced_and_workers_stay(gateway):
    *workers, steward = gateway.children()
    os.kill(steward, signal.SIGKILL)
    gateway.wait_for(r"steward \(pid \d+\) was ended by SIGKILL")

    status, body = get(gateway.admin, "/status")
    assert status == 200
    assert [worker["pid"] for worker in json.loads(body)["workers"]] == workers


def test_a_gateway_whose_steward_cannot_start_serves_on(tiny, tmp_path):
    (tmp_path / "aiohttp.py").write_text("raise ImportError('broken')")
    gateway = tiny(
        {"admin_socket": str(tmp_path / "admin")},
        environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    ).wait_ready()
    gateway.wait_for("steward: ImportError: broken")
    gateway.wait_for(r"steward starts again in [\d.]+ s")

    assert gateway.tell("pid") in gateway.children()
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0


def test_a_drain_can_be_watched(gateway):
    connection = gateway.connect()
    gateway.say(connection, "hold")
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("stopping: draining")

    states = set()
    deadline = time.monotonic() + 20
    while "draining" not in states and time.monotonic() < deadline:
        body = get(gateway.admin, "/status")[1]
        states = {worker["state"] for worker in json.loads(body)["workers"]}
    assert "draining" in states
    connection.close()
    assert gateway.wait_exit() == 0


def test_the_status_command_prints_tables(gateway, capsys):
    assert admin.status_command(gateway.admin, as_json=False) == 0

    printed = capsys.readouterr().out
    assert "WORKER" in printed
    assert "127.0.0.1:10" in printed
    assert f"http://127.0.0.1:{gateway.port}" in printed


def test_the_status_command_prints_json(gateway, capsys):
    assert admin.status_command(gateway.admin, as_json=True) == 0

    assert json.loads(capsys.readouterr().out)["version"]


def states(gateway):
    status = json.loads(get(gateway.admin, "/status")[1])
    return [(worker["state"], worker["pid"]) for worker in status["workers"]]


def wait_for(fact):
    deadline = time.monotonic() + 20
    while not (value := fact()):
        assert time.monotonic() < deadline
        os.sched_yield()
    return value


def test_a_stopped_worker_is_silent_before_it_is_replaced(gateway):
    first, second = (pid for _, pid in states(gateway))
    os.kill(first, signal.SIGSTOP)

    wait_for(lambda: states(gateway)[0] == ("silent", first))
    assert states(gateway)[1] == ("ready", second)
    assert "is stuck" not in gateway.seen


def test_a_worker_that_drains_is_draining_and_one_that_has_drained_has_left(gateway):
    with gateway.connect() as connection:
        busy = gateway.say(connection, "hold")
        gateway.signal(signal.SIGTERM)

        found = wait_for(
            lambda: {("left", 0)}.issubset(now := set(states(gateway))) and now
        )
        assert found == {("draining", busy), ("left", 0)}
    assert gateway.wait_exit() == 0
