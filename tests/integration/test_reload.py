"""A new configuration in a running gateway: what goes on, and what is refused."""

from __future__ import annotations

import copy
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from support.client import request
from support.gateway import Gateway, descriptors, is_alive, run_cli
from support.origin import hold, pattern, response
from support.rig import Rig
from support.waiting import eventually


def changed(gateway: Gateway, **tables: Any) -> dict[str, Any]:
    """The gateway's configuration with keys of [gateway], or whole tables, replaced."""
    assert gateway.config is not None
    config = copy.deepcopy(gateway.config)
    for name, value in tables.items():
        if name in ("listeners", "upstreams", "routes"):
            config[name] = value
        else:
            config["gateway"][name] = value
    return config


def reload(gateway: Gateway, **tables: Any) -> list[str]:
    """Reload with these changes; the lines of the answer."""
    gateway.configure(changed(gateway, **tables))
    status, lines = gateway.reload()
    assert status == 200, lines
    return lines


def says(text: str) -> list[dict[str, Any]]:
    return [{"name": "main", "respond": {"status": 200, "body": text}}]


def body_of(gateway: Gateway) -> bytes:
    return gateway.fetch("GET", "/").body


def wait_left(gateway: Gateway, number: int) -> None:
    gateway.stderr.wait_for(f"generation {number} has left", within_s=10)


# -- what changes


def test_a_hup_serves_by_the_new_routes(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("one"))
    before = body_of(gateway)
    gateway.configure(changed(gateway, routes=says("two")))
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait_for("reloaded: generation 2 serves, 1 worker")

    assert (before, body_of(gateway)) == (b"one", b"two")
    wait_left(gateway, 1)
    assert gateway.generations() == [2]


def test_the_command_says_what_has_changed(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("one"))
    gateway.configure(changed(gateway, routes=says("two"), deadline="7s"))
    done = run_cli("reload", "--admin-socket", gateway.admin_socket)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "fastgate: generation 2 serves, 1 worker",
        "fastgate: gateway: deadline",
        "fastgate: routes: main",
    ]


def test_workers_come_and_go(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("here"), workers=1)
    counts = []
    for number, workers in enumerate((3, 2, 1), 2):
        reload(gateway, workers=workers)
        wait_left(gateway, number - 1)
        counts.append(len(gateway.worker_pids()))
        assert {body_of(gateway) for _ in range(10)} == {b"here"}

    assert counts == [3, 2, 1]


def test_a_listener_comes_and_another_goes(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("here"))
    old = gateway.address
    path = os.path.join(rig.directory, "http")
    reload(
        gateway,
        listeners={
            "main": {"address": "127.0.0.1:0"},
            "new": {"address": f"unix:{path}"},
        },
    )
    with rig.client(f"unix:{path}") as client:
        over_new = client.ask("GET", "/").body
    assert (over_new, body_of(gateway)) == (b"here", b"here")

    wait_left(gateway, 1)
    reload(gateway, listeners={"new": {"address": f"unix:{path}"}})
    wait_left(gateway, 2)
    with pytest.raises(ConnectionRefusedError):
        rig.client(old)
    with rig.client(f"unix:{path}") as client:
        assert client.ask("GET", "/").body == b"here"
    gateway.stderr.wait_for(f"no longer listening on http://{old}")
    # What it holds is not what it held: the count of descriptors is another.
    gateway.checks_quiet = False


def test_an_endpoint_comes_and_another_goes_and_one_keeps_its_counts(rig: Rig) -> None:
    kept, gone, new = (rig.origin() for _ in range(3))
    gateway = rig.gateway(kept, gone)
    for _ in range(4):
        assert gateway.fetch("GET", "/").status == 200
    before = gateway.endpoints()[kept.address]
    reload(gateway, upstreams={"main": {"endpoints": [new.address, kept.address]}})
    wait_left(gateway, 1)
    served = len(gone.requests)
    for _ in range(4):
        assert gateway.fetch("GET", "/").status == 200

    assert len(gone.requests) == served
    assert len(new.requests) == 2
    assert gateway.endpoints()[kept.address]["total"] == before["total"] + 2
    assert list(gateway.endpoints()) == [new.address, kept.address]


def test_an_upstream_comes_with_its_route(rig: Rig) -> None:
    first, second = rig.origin(), rig.origin()
    gateway = rig.gateway(first)
    reload(
        gateway,
        upstreams={
            "other": {"endpoints": [second.address]},
            "main": {"endpoints": [first.address]},
        },
        routes=[{"name": "main", "upstream": "other"}],
    )

    assert gateway.fetch("GET", "/").status == 200
    assert (len(first.requests), len(second.requests)) == (0, 1)


def test_endpoints_change_through_many_reloads_under_load(rig: Rig) -> None:
    origins = [rig.origin() for _ in range(6)]
    gateway = rig.gateway(*origins[:3], workers=2)
    failures: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            status = gateway.fetch("GET", "/").status
            if status != 200:
                failures.append(status)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    for turn in range(8):
        chosen = [origins[(turn + k) % 6].address for k in range(3)]
        reload(gateway, upstreams={"main": {"endpoints": chosen}})
    over.set()
    for thread in asking:
        thread.join()

    assert failures == []


def test_logs_and_their_level_change(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("here"))
    access, error = (Path(rig.directory, name) for name in ("access", "error"))
    logs = {"access_log": str(access), "error_log": str(error)}
    reload(gateway, **logs, access_log_flush="10ms")
    body_of(gateway)

    eventually(lambda: access.stat().st_size > 0, within_s=3)
    assert "reloaded: generation 2 serves" in error.read_text()
    eventually(lambda: "generation 1 has left" in error.read_text(), within_s=5)
    gateway.checks_quiet = False


# -- what goes on


def test_counters_go_on(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    for _ in range(5):
        gateway.fetch("GET", "/size/1")
    before = gateway.status()
    reload(gateway, deadline="7s")
    wait_left(gateway, 1)
    gateway.fetch("GET", "/size/1")
    after = gateway.status()

    assert after["totals"]["requests"] == before["totals"]["requests"] + 1 == 6
    (endpoint,) = after["upstreams"]["main"]["endpoints"]
    assert endpoint["total"] == 6
    assert endpoint["in_flight"] == 0


def test_an_idle_connection_is_answered_once_more_and_told_to_close(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), drain="20s")
    client = rig.client(gateway)
    assert not client.ask("GET", "/size/1").is_last
    reload(gateway, deadline="7s")
    assert client.is_open(0.7)  # longer than what a stop leaves an idle client
    answer = client.ask("GET", "/size/3")

    assert (answer.body, answer.is_last) == (pattern(3), True)
    assert client.is_closed()
    wait_left(gateway, 1)


def test_an_idle_connection_is_let_go_when_the_drain_is_over(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), drain="1500ms")
    client = rig.client(gateway)
    client.ask("GET", "/size/1")
    reload(gateway, deadline="7s")

    assert client.is_closed(5)
    wait_left(gateway, 1)
    assert "outlasted" not in gateway.stderr.text


def test_a_response_in_progress_arrives_whole(rig: Rig) -> None:
    gate = threading.Event()
    gateway = rig.gateway(rig.origin(hold(gate, response(200, pattern(300_000)))))
    client = rig.client(gateway)
    client.send(request())
    rig.origins[0].wait_for_requests(1)
    reload(gateway, deadline="7s")
    assert gateway.generations() == [1, 2]
    gate.set()
    answer = client.read_response()

    assert (answer.body, answer.is_last) == (pattern(300_000), True)
    wait_left(gateway, 1)


def test_a_tunnel_goes_on(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), drain="20s")
    client = rig.client(gateway)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    client.send(request("GET", "/upgrade", upgrade))
    answer = client.read_response(upgrade=True)
    if answer.status != 101:
        pytest.fail(f"no tunnel: {answer.raw!r}")
    reload(gateway, deadline="7s")
    client.send(b"still here")
    assert client.read_exactly(10) == b"still here"
    client.reset()
    wait_left(gateway, 1)


def test_a_connection_that_waits_is_accepted_by_the_successor(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("here"))
    (worker,) = gateway.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    client = rig.client(gateway)
    client.send(request())
    reload(gateway, deadline="7s")
    answer = client.read_response()
    os.kill(worker, signal.SIGCONT)

    assert answer.body == b"here"
    wait_left(gateway, 1)


def test_reloads_leave_no_descriptor_behind(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("here"), workers=2)
    before = len(descriptors(gateway.pid))
    for number in range(1, 6):
        reload(gateway, deadline=f"{number}s")
        wait_left(gateway, number)

    eventually(lambda: len(descriptors(gateway.pid)) == before, within_s=3)


# -- what is refused


def test_a_bad_file_changes_nothing_and_the_reason_is_told(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("one"))
    workers = gateway.worker_pids()
    good = gateway.config_file.read_text()
    gateway.config_file.write_text("bogus = 1\n" + good.replace('"5s"', '"5 weeks"'))
    done = run_cli("reload", "--admin-socket", gateway.admin_socket)

    told, file = done.stderr.splitlines(), gateway.config_file
    assert done.returncode == 1
    assert told[0] == (
        f"fastgate: {file}:1:1: unknown key 'bogus' in the top of the file"
    )
    assert f"fastgate: {file}:4:1: drain: " in told[1]
    for line in told[:2]:
        text = line.removeprefix("fastgate: ")
        assert f"fastgate: error: reload: {text}" in gateway.stderr.lines
    gateway.stderr.wait_for("reload refused: generation 1 serves on")
    assert body_of(gateway) == b"one"
    assert gateway.worker_pids() == workers


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("pid_file", "/tmp/other.pid", "none -> '/tmp/other.pid' takes a restart"),
        ("reuseport", False, "on -> off takes a restart"),
        ("workers", 200, "200 takes a restart: this gateway has room for"),
        ("user", "nobody-there", "there is no user 'nobody-there'"),
        ("access_log", "/nowhere/log", "there is no directory '/nowhere'"),
    ],
)
def test_what_cannot_be_reloaded_is_refused(
    rig: Rig, key: str, value: object, why: str
) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("one"))
    gateway.configure(changed(gateway, **{key: value}))
    status, lines = gateway.reload()

    assert status == 409
    assert any(why in line and f"{key}: " in line for line in lines), lines
    assert body_of(gateway) == b"one"


def test_an_address_that_is_taken_is_refused(rig: Rig) -> None:
    other = rig.origin()
    gateway = rig.gateway(rig.origin(), routes=says("one"))
    listeners = {
        "main": {"address": "127.0.0.1:0"},
        "taken": {"address": other.address},
    }
    gateway.configure(changed(gateway, listeners=listeners))
    status, lines = gateway.reload()

    assert status == 409
    assert lines[0].startswith(
        f"cannot listen on {other.address}: address already in use"
    )
    assert body_of(gateway) == b"one"


def test_a_listener_whose_name_stands_for_nothing_is_refused(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("one"))
    listeners = {
        "main": {"address": "127.0.0.1:0"},
        "new": {"address": "no-such-host.invalid:0"},
    }
    gateway.configure(changed(gateway, listeners=listeners))
    status, lines = gateway.reload()

    assert status == 409
    assert "no-such-host.invalid cannot be resolved" in lines[0]
    assert body_of(gateway) == b"one"


def test_a_command_without_a_gateway_says_so(rig: Rig) -> None:
    path = os.path.join(rig.directory, "nobody")
    done = run_cli("reload", "--admin-socket", path)

    assert done.returncode == 1
    assert f"no gateway answers on {path}" in done.stderr


# -- at the same time


def test_hups_at_once_are_one_reload_or_two(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), routes=says("one"))
    gateway.configure(changed(gateway, routes=says("two")))
    for _ in range(20):
        gateway.signal(signal.SIGHUP)
    eventually(lambda: gateway.generations() in ([2], [3]), within_s=10)
    status, _ = gateway.reload()

    assert status == 200
    assert gateway.stderr.text.count("reloaded: generation") <= 3
    assert body_of(gateway) == b"two"


def test_a_reload_waits_for_a_generation_that_leaves(rig: Rig) -> None:
    gate = threading.Event()
    gateway = rig.gateway(rig.origin(hold(gate, response(200, b"late"))), drain="20s")
    client = rig.client(gateway)
    client.send(request())
    rig.origins[0].wait_for_requests(1)
    reload(gateway, deadline="7s")
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait_for(
        "reload: waiting for generation 1, which leaves within 20 s"
    )
    assert gateway.generations() == [1, 2]
    gate.set()

    assert client.read_response().body == b"late"
    gateway.stderr.wait_for("reloaded: generation 3 serves", within_s=10)


def test_a_worker_killed_while_another_generation_leaves_is_replaced(rig: Rig) -> None:
    gate = threading.Event()
    gateway = rig.gateway(rig.origin(hold(gate, response(200, b"late"))), drain="20s")
    client = rig.client(gateway)
    client.send(request())
    rig.origins[0].wait_for_requests(1)
    reload(gateway, deadline="7s")
    old, new = (
        next(w["pid"] for w in gateway.workers() if w["generation"] == number)
        for number in (1, 2)
    )
    os.kill(new, signal.SIGKILL)
    gateway.stderr.wait_for(r"worker 0 \(pid \d+\) is ready")
    os.kill(old, signal.SIGKILL)
    wait_left(gateway, 1)

    assert client.is_closed()
    gate.set()
    assert gateway.fetch("GET", "/").body == b"late"
    assert gateway.generations() == [2]


def test_a_stop_during_a_reload_ends_both_generations(rig: Rig) -> None:
    gate = threading.Event()
    gateway = rig.gateway(rig.origin(hold(gate, response(200, b"late"))), drain="20s")
    client = rig.client(gateway)
    client.send(request())
    rig.origins[0].wait_for_requests(1)
    reload(gateway, deadline="7s")
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait_for("reload: waiting")
    gateway.signal(signal.SIGTERM)
    gateway.stderr.wait_for("stopping: draining")
    gate.set()

    assert client.read_response().body == b"late"
    assert gateway.wait_exit() == 0


def test_both_generations_of_a_killed_master_finish_and_leave(rig: Rig) -> None:
    gate = threading.Event()
    gateway = rig.gateway(rig.origin(hold(gate, response(200, b"late"))), drain="20s")
    gateway.expected_exit = None
    gateway.checks_quiet = False
    client = rig.client(gateway)
    client.send(request())
    rig.origins[0].wait_for_requests(1)
    reload(gateway, deadline="7s")
    workers = gateway.worker_pids()
    gateway.signal(signal.SIGKILL)
    gate.set()

    assert client.read_response().body == b"late"
    assert len(workers) == 2
    eventually(lambda: not any(map(is_alive, workers)), within_s=10)
