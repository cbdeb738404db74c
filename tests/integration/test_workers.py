"""Workers that die, hang or never boot, and what the others make of it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from support.client import request
from support.gateway import Gateway, is_alive
from support.load import Load
from support.origin import hold, response
from support.rig import Rig
from support.waiting import Stopwatch, eventually


def replaced(gateway: Gateway, victim: int, count: int) -> bool:
    """Whether `count` workers run and `victim` is none of them."""
    status = gateway.status_or_none()
    if status is None:
        return False
    pids = [worker["pid"] for worker in status["workers"] if worker["pid"]]
    return victim not in pids and len([pid for pid in pids if is_alive(pid)]) == count


def test_a_killed_worker_is_replaced_and_its_counts_are_given_back(rig: Rig) -> None:
    gate = threading.Event()
    origin = rig.origin(hold(gate, response(200, b"ok")))
    gateway = rig.gateway(origin, workers=2)
    clients = [rig.client(gateway) for _ in range(20)]
    for client in clients:
        client.send(request())
    origin.wait_for_requests(20)
    victim = gateway.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: replaced(gateway, victim, 2), within_s=2, what="replaced")
    lost = [client for client in clients if client.has_answer(0.02)]

    def true_count() -> bool:
        return gateway.in_flight() == {origin.address: 20 - len(lost)}

    eventually(true_count, within_s=1, what=f"the gauge after {len(lost)} were lost")
    assert 0 < len(lost) < 20
    gate.set()
    kept = [client for client in clients if client not in lost]
    assert {client.read_response().status for client in kept} == {200}


def test_connections_in_a_dead_workers_queue_are_served_by_its_successor(
    rig: Rig,
) -> None:
    gateway = rig.gateway(rig.origin(), workers=1)
    (victim,) = gateway.worker_pids()
    os.kill(victim, signal.SIGSTOP)
    clients = [rig.client(gateway) for _ in range(5)]
    for client in clients:
        client.send(request("GET", "/size/1"))
    assert not any(client.has_answer() for client in clients)
    os.kill(victim, signal.SIGKILL)

    assert [client.read_response().status for client in clients] == [200] * 5


@pytest.mark.slow
def test_kills_under_load_refuse_nobody_and_lose_only_what_was_in_flight(
    rig: Rig,
) -> None:
    gateway = rig.gateway(rig.origin(), workers=2)
    with Load(gateway.address, threads=16) as load:
        eventually(lambda: load.served > 200, within_s=5)
        respawns = []
        in_flight_lost = 0
        for n in range(10):
            victim = gateway.worker_pids()[n % 2]
            before = load.lost
            os.kill(victim, signal.SIGKILL)
            watch = Stopwatch()
            eventually(lambda v=victim: replaced(gateway, v, 2), within_s=3)
            respawns.append(watch.seconds)
            in_flight_lost += load.lost - before
            mark = load.served
            eventually(lambda mark=mark: load.served > mark + 50, within_s=5)

    assert load.refused == 0
    assert load.wrong == []
    assert load.lost <= 10 * 16
    assert max(respawns) < 2
    gateway.check_quiet()


@pytest.mark.slow
def test_a_stuck_worker_is_dumped_and_replaced(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), workers=2)
    victim = gateway.worker_pids()[0]
    os.kill(victim, signal.SIGSTOP)
    eventually(
        lambda: replaced(gateway, victim, 2), within_s=15, what="the stuck one replaced"
    )

    assert not is_alive(victim)
    for _ in range(20):
        assert gateway.fetch("GET", "/size/1").status == 200
    gateway.stderr.wait_for(str(victim))


def test_workers_that_cannot_boot_stop_the_master_with_exit_code_3(rig: Rig) -> None:
    """Every event loop refuses to be made, in whatever process."""
    (Path(rig.directory) / "sitecustomize.py").write_text(
        "import uvloop\n"
        "def refuse(*args, **kwargs):\n"
        "    raise OSError('no loop today')\n"
        "uvloop.new_event_loop = uvloop.Loop = refuse\n"
    )
    gateway = rig.gateway(rig.origin(), ready=False, site=rig.directory)
    gateway.expected_exit = 3

    assert gateway.wait_exit(within_s=30) == 3
    assert "no loop today" in gateway.stderr.text


def test_a_killed_steward_is_replaced_and_no_request_notices(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), workers=1)
    known = {gateway.pid, *gateway.worker_pids()}
    (steward,) = set(gateway.session_pids()) - known
    client = rig.client(gateway)
    assert client.ask("GET", "/size/1").status == 200
    os.kill(steward, signal.SIGKILL)
    assert client.ask("GET", "/size/1").status == 200

    eventually(gateway.status_or_none, within_s=5, what="the admin socket is back")
    assert steward not in gateway.session_pids()
    assert client.ask("GET", "/size/1").status == 200


def test_workers_are_pinned_when_asked(rig: Rig) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one processor")
    gateway = rig.gateway(rig.origin(), workers=2, pin="on")
    pinned = [os.sched_getaffinity(pid) for pid in gateway.worker_pids()]

    assert all(len(one) == 1 for one in pinned)
    assert pinned[0] != pinned[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop it")
def test_workers_give_up_root_after_binding(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), user="nobody", workers=2)
    for pid in gateway.worker_pids():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        (uid,) = {
            word
            for line in lines
            if line.startswith("Uid:")
            for word in line.split()[1:]
        }
        assert uid != "0"

    assert gateway.fetch("GET", "/size/1").status == 200


@pytest.mark.parametrize("count", [1, 2, 4])
def test_as_many_workers_run_as_were_asked_for(rig: Rig, count: int) -> None:
    gateway = rig.gateway(rig.origin(), workers=count)
    (ready,) = gateway.stderr.wait_for(r"ready, (\d+) worker")

    assert len(set(gateway.worker_pids())) == int(ready[1]) == count
    for _ in range(count * 5):
        assert gateway.fetch("GET", "/size/1").status == 200
