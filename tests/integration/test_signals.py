"""How the program ends, and how it refuses to begin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import addresses
from support.client import Client, TruncatedError, request
from support.gateway import Gateway, is_alive
from support.origin import Origin, hold, pattern, response, silent
from support.rig import Rig
from support.waiting import Stopwatch, eventually


def held(rig: Rig, **settings: object) -> tuple[Gateway, Origin, threading.Event]:
    """A gateway whose one upstream answers when the event is set."""
    gate = threading.Event()
    origin = rig.origin(hold(gate, response(200, pattern(100_000))))
    return rig.gateway(origin, **settings), origin, gate


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_graceful_stop_finishes_what_was_begun(
    rig: Rig, number: signal.Signals
) -> None:
    gateway, origin, gate = held(rig, workers=2, drain="10s")
    clients = [rig.client(gateway) for _ in range(8)]
    for client in clients:
        client.send(request())
    origin.wait_for_requests(8)
    gateway.signal(number)
    eventually(lambda: refuses(gateway), within_s=3, what="new connections refused")
    assert gateway.process.poll() is None
    gate.set()

    assert [client.read_response().body for client in clients] == [pattern(100_000)] * 8
    assert gateway.wait_exit() == 0


def refuses(gateway: Gateway) -> bool:
    try:
        with gateway.client(timeout_s=1) as client:
            client.send(request())
            return client.is_closed(0.2)
    except (ConnectionError, TimeoutError, AssertionError):
        return True


def test_a_graceful_stop_announces_the_end_on_open_connections(rig: Rig) -> None:
    gateway, origin, gate = held(rig)
    client = rig.client(gateway)
    client.send(request())
    origin.wait_for_requests(1)
    gateway.signal(signal.SIGTERM)
    eventually(lambda: refuses(gateway), within_s=3)
    gate.set()

    assert client.read_response().is_last
    assert client.is_closed()


def test_a_graceful_stop_lets_idle_connections_go_at_once(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), drain="30s")
    idle, fresh = rig.client(gateway), rig.client(gateway)
    assert idle.ask("GET", "/size/1").status == 200
    watch = Stopwatch()

    assert gateway.stop() == 0
    assert watch.seconds < 5
    assert idle.is_closed()
    assert fresh.is_closed()


def test_draining_has_an_end(rig: Rig) -> None:
    origin = rig.origin(silent)
    gateway = rig.gateway(origin, drain="500ms")
    client = rig.client(gateway)
    client.send(request())
    origin.wait_for_requests(1)
    gateway.signal(signal.SIGTERM)
    watch = Stopwatch()

    assert gateway.wait_exit() == 0
    assert 0.3 <= watch.seconds <= 3
    assert b" 200 " not in client.read_to_any_end()[0]


def test_a_tunnel_lives_until_the_drain_is_over(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), drain="1s")
    client = rig.client(gateway)
    client.send(
        request("GET", "/upgrade", {"Connection": "Upgrade", "Upgrade": "echo"})
    )
    assert client.read_response(upgrade=True).status == 101
    gateway.signal(signal.SIGTERM)
    eventually(lambda: refuses(gateway), within_s=3)
    client.send(b"still here")
    assert client.read_exactly(10) == b"still here"

    assert gateway.wait_exit() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_now(rig: Rig, second: signal.Signals) -> None:
    gateway, origin, _ = held(rig, drain="30s")
    client = rig.client(gateway)
    client.send(request())
    origin.wait_for_requests(1)
    gateway.signal(signal.SIGTERM)
    eventually(lambda: refuses(gateway), within_s=3)
    gateway.signal(second)
    watch = Stopwatch()

    assert gateway.wait_exit() == 0
    assert watch.seconds < 3


def test_int_is_fast(rig: Rig) -> None:
    gateway, origin, _ = held(rig, drain="30s")
    client = rig.client(gateway)
    client.send(request())
    origin.wait_for_requests(1)
    gateway.signal(signal.SIGINT)
    watch = Stopwatch()

    assert gateway.wait_exit() == 0
    assert watch.seconds < 3
    raw, _ = client.read_to_any_end()
    assert raw == b"" or raw.startswith(b"HTTP/1.1 503 ")


def test_term_under_load_fails_no_request(rig: Rig) -> None:
    """A connection that was served once ends only where an answer said so."""
    gateway = rig.gateway(rig.origin(), workers=2)
    failures: list[str] = []
    served: list[int] = []

    def use(client: Client) -> None:
        """Ask until an answer is the last; the first request may find no taker."""
        count = 0
        while True:
            try:
                answer = client.ask("GET", "/size/100")
            except (TruncatedError, OSError) as error:
                if count:
                    failures.append(repr(error))
                return
            count += 1
            served.append(answer.status)
            if answer.is_last:
                return

    def work() -> None:
        while True:
            try:
                client = gateway.client()
            except OSError:
                return
            with client:
                use(client)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(served) > 200, within_s=5)
    assert gateway.stop() == 0
    for thread in threads:
        thread.join(10)

    assert failures == []
    assert set(served) == {200}


def test_when_the_master_is_killed_the_workers_finish_and_leave(rig: Rig) -> None:
    gateway, origin, gate = held(rig, workers=2, drain="10s")
    gateway.expected_exit = -signal.SIGKILL
    workers = gateway.worker_pids()
    clients = [rig.client(gateway) for _ in range(4)]
    for client in clients:
        client.send(request())
    origin.wait_for_requests(4)
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.process.wait(5)
    gate.set()

    assert [client.read_response().status for client in clients] == [200] * 4
    rig.close_clients()
    eventually(
        lambda: not any(map(is_alive, workers)), within_s=10, what="workers left"
    )
    eventually(lambda: not gateway.session_pids(), within_s=5, what="steward left")


# The pid file.


def test_the_pid_file_holds_the_masters_pid_and_goes_away(rig: Rig) -> None:
    path = Path(rig.directory) / "fastgate.pid"
    gateway = rig.gateway(rig.origin(), pid_file=str(path))
    assert path.read_text().strip() == str(gateway.pid)
    gateway.stop()

    assert not path.exists()


def test_a_stale_pid_file_is_replaced(rig: Rig) -> None:
    path = Path(rig.directory) / "fastgate.pid"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.write_text(f"{dead.pid}\n")
    gateway = rig.gateway(rig.origin(), pid_file=str(path))

    assert path.read_text().strip() == str(gateway.pid)


def test_a_pid_file_of_another_is_left_alone(rig: Rig) -> None:
    path = Path(rig.directory) / "fastgate.pid"
    gateway = rig.gateway(rig.origin(), pid_file=str(path))
    path.write_text("1\n")
    gateway.stop()

    assert path.read_text() == "1\n"


# Not starting.


def start_and_fail(rig: Rig, *endpoints: object, **settings: object) -> Gateway:
    gateway = rig.gateway(*endpoints, ready=False, **settings)
    gateway.expected_exit = None
    gateway.wait_exit()
    gateway.stderr.join()
    return gateway


def test_a_port_in_use_is_exit_code_3(rig: Rig) -> None:
    taken = rig.origin()
    gateway = start_and_fail(rig, rig.origin(), listen=taken.address)

    assert gateway.process.returncode == 3
    assert taken.address in gateway.stderr.text
    assert "Traceback" not in gateway.stderr.text


def test_a_directory_that_is_not_there_is_exit_code_3(rig: Rig) -> None:
    gateway = start_and_fail(
        rig, rig.origin(), access_log=f"{rig.directory}/none/access.log"
    )

    assert gateway.process.returncode == 3
    assert "none/access.log" in gateway.stderr.text


def test_a_bad_configuration_is_exit_code_1_with_every_error(rig: Rig) -> None:
    gateway = start_and_fail(
        rig,
        rig.origin(),
        workerz=2,
        drain="soon",
        max_headers=100_000,
        upstream={"balance": "best"},
    )

    assert gateway.process.returncode == 1
    errors = [line for line in gateway.stderr.lines if "fastgate.toml:" in line]
    assert len(errors) >= 4
    assert any("workerz" in line and "did you mean" in line for line in errors)


def test_the_same_port_serves_again_after_a_stop(rig: Rig) -> None:
    origin = rig.origin()
    first = rig.gateway(origin)
    assert first.fetch("GET", "/size/1").status == 200
    first.stop()
    second = rig.gateway(origin, listen=first.address)

    assert second.fetch("GET", "/size/1").status == 200


def test_it_starts_and_stops_quickly(rig: Rig) -> None:
    watch = Stopwatch()
    gateway = rig.gateway(addresses.unused())
    started = watch.seconds
    watch = Stopwatch()
    gateway.stop()

    assert started < 10
    assert watch.seconds < 5
