"""What `check` accepts, `run` starts and serves; what it refuses, `run` refuses."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import toml
from support.client import fetch
from support.gateway import run_cli
from support.mutations import Mutator, examples
from support.rig import Rig

from fastgate._core import Engine
from fastgate.config.load import Loaded, load
from fastgate.config.model import Config
from fastgate.control.boot import Estate, prepare
from fastgate.control.preflight import check_machine
from fastgate.control.signals import SignalQueue
from fastgate.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
REQUEST = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
PATIENCE_S = 5.0


@pytest.fixture
def origin() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """What a master raises for its workers is put back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def mutator(seed: int, tmp_path: Path, endpoint: str) -> Mutator:
    return Mutator(examples(ROOT), seed, tmp_path, endpoint, fixed_port())


def fixed_port() -> int:
    """A free port that no client of somebody else is given by the kernel."""
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    first, last = map(int, text.split())
    for port in [*range(first - 1, 1024, -1), *range(last + 1, 65536)]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise AssertionError("no free port")


def accepted(path: Path) -> Loaded | None:
    """What `check` says, without a process."""
    try:
        loaded = load(str(path), {}, {})
        check_machine(loaded)
    except ConfigError:
        return None
    return loaded


def status_of(estate: Estate, origin: socket.socket) -> int:
    """Be all workers in this process, their client and their endpoint: the status."""
    with ExitStack() as at_exit:
        generation = estate.current
        sockets = [set(one.sockets) for one in generation.listeners]
        for sock in set().union(*sockets):
            sock.listen(64)
        pairs = [
            (sock.fileno(), index) for index, own in enumerate(sockets) for sock in own
        ]
        log_fd = generation.access_log_fd
        engine = Engine(
            estate.region,
            0,
            generation.plan,
            pairs,
            os.dup(log_fd) if log_fd >= 0 else -1,
            generation.lane,
        )
        at_exit.callback(engine.close)
        first = generation.listeners[0].sockets[0]
        client = at_exit.enter_context(socket.socket(first.family))
        client.connect(first.getsockname())
        client.sendall(REQUEST)
        client.setblocking(False)
        others: list[socket.socket] = []
        at_exit.callback(lambda: [one.close() for one in others])
        while True:
            watched = [engine.fd, client, origin, *others]
            ready, _, _ = select.select(watched, [], [], PATIENCE_S)
            assert ready, "no answer"
            engine.poll()
            for one in set(ready) & {origin, *others}:
                serve(one, origin, others)
            with contextlib.suppress(BlockingIOError):
                data = client.recv(65536)
                found = STATUS.match(data)
                assert found, data
                return int(found[1])


def serve(
    ready: socket.socket, origin: socket.socket, others: list[socket.socket]
) -> None:
    """Take a connection, or answer what came on one."""
    with contextlib.suppress(BlockingIOError, ConnectionError):
        if ready is origin:
            others.append(origin.accept()[0])
        elif ready.recv(1 << 20):
            ready.sendall(ANSWER)
        else:
            others.remove(ready)
            ready.close()


def test_every_documented_file_is_a_good_configuration() -> None:
    found = examples(ROOT)

    assert len(found) >= 3
    for table in found:
        Config.model_validate(table)


def test_what_check_accepts_starts_and_serves(
    tmp_path: Path, origin: socket.socket
) -> None:
    host, port = origin.getsockname()
    draw = mutator(1, tmp_path, f"{host}:{port}")
    path = tmp_path / "fastgate.toml"
    counts = {True: 0, False: 0}
    with ExitStack() as at_exit:
        signals = SignalQueue()
        at_exit.callback(signals.close)
        for number in range(600):
            config = draw.configuration()
            path.write_text(toml.document(config))
            loaded = accepted(path)
            counts[loaded is not None] += 1
            if loaded is None:
                continue
            with ExitStack() as undo:
                try:
                    status = status_of(prepare(loaded.config, undo, signals), origin)
                except Exception as error:
                    raise AssertionError(
                        f"number {number}: {path.read_text()}"
                    ) from error
            assert status != 500, f"number {number}: {path.read_text()}"

    # Neither way must be rare, or nothing is shown.
    assert min(counts.values()) >= 150, counts


def test_processes_agree_with_check(tmp_path: Path, rig: Rig) -> None:
    draw = mutator(2, tmp_path, rig.origin().address)
    path = tmp_path / "fastgate.toml"
    seen = {True: 0, False: 0}
    while sum(seen.values()) < 20:
        path.write_text(toml.document(draw.configuration()))
        loaded = accepted(path)
        is_accepted = loaded is not None
        if seen[is_accepted] == 10 or (loaded and loaded.config.gateway.workers > 4):
            continue
        seen[is_accepted] += 1
        if is_accepted:
            serves(rig, path)
        else:
            run, check = run_cli("run", "-c", str(path)), run_cli("check", str(path))
            assert (run.returncode, run.stderr) == (check.returncode, check.stderr)
            assert run.returncode in (1, 3), path.read_text()


def serves(rig: Rig, path: Path) -> None:
    """The program starts with that file, answers, and leaves when it is told."""
    gateway = rig.gateway_by_flags("-c", str(path))
    assert fetch(gateway.address, "GET", "/x").status != 500
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
