"""Build the C programs, start a proxy over two backends, and check its answers.

Runs in: none; a tool of the bench. Everything listens on 127.0.0.1.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from load import procs

BENCH = Path(__file__).parents[1]
OUT = BENCH / "out"
PEERS = ("nginx", "haproxy", "floor", "fastgate")
START_S = 10.0


class PeerError(Exception):
    """A proxy is not there, did not start, or answered wrongly."""


@dataclass(slots=True, kw_only=True)
class Peer:
    """One running proxy: its port, and its processes as they were at start."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    pids: list[int] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def build() -> None:
    """Compile floor and backend into bench/out where the source is newer."""
    OUT.mkdir(exist_ok=True)
    for name in ("floor", "backend"):
        source, binary = BENCH / "load" / f"{name}.c", OUT / name
        if binary.exists() and binary.stat().st_mtime > source.stat().st_mtime:
            continue
        subprocess.run(["gcc", "-O2", "-o", binary, source], check=True)


def free_port() -> int:
    """Give a port nobody listens on; for programs that cannot be told port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_installed(name: str) -> bool:
    """Tell whether a peer can be started here."""
    return name in ("floor", "fastgate") or shutil.which(name) is not None


def fastgate_command() -> list[str]:
    """Find fastgate: the script beside this Python, else the module."""
    script = Path(sys.executable).with_name("fastgate")
    return [str(script)] if script.exists() else [sys.executable, "-m", "fastgate"]


def _argv(
    name: str,
    port: int,
    upstream_ports: list[int],
    workers: int,
    *,
    directory: Path,
    pinned: bool,
    fastgate: list[str],
    flags: list[str],
) -> list[str]:
    if name == "floor":
        return [str(OUT / "floor"), str(port), str(workers), *map(str, upstream_ports)]
    if name == "fastgate":
        argv = [*fastgate, "run", "--listen", f"127.0.0.1:{port}"]
        for upstream in upstream_ports:
            argv += ["--upstream", f"127.0.0.1:{upstream}"]
        argv += ["--workers", str(workers), "--pin", "on" if pinned else "off"]
        return [*argv, "--access-log", "off", *flags]
    template = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name]
    config = directory / template
    config.write_text(
        string.Template((BENCH / "peers" / template).read_text()).substitute(
            PORT=port,
            WORKERS=workers,
            DIR=directory,
            UPSTREAM_1=upstream_ports[0],
            UPSTREAM_2=upstream_ports[1],
        )
    )
    if name == "nginx":
        return ["nginx", "-c", str(config), "-p", str(directory), "-e", "stderr"]
    return ["haproxy", "-db", "-f", str(config)]


def ask(
    port: int, method: str, path: str, body: bytes | None = None
) -> tuple[int, int]:
    """Ask once; give status and length of the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        return answer.status, len(answer.read())
    finally:
        connection.close()


def _wait_until_it_answers(peer: Peer) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if peer.process.poll() is not None:
            break
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ask(peer.port, "GET", "/") == (200, 13):
                return
        time.sleep(0.02)
    last_lines = peer.log.read_text(errors="replace").splitlines()[-10:]
    raise PeerError("\n".join([f"{peer.name} did not start", *last_lines]))


@contextlib.contextmanager
def running(
    name: str,
    upstream_ports: list[int],
    *,
    workers: int = 1,
    core: int | None = None,
    fastgate: list[str] | None = None,
    flags: list[str] | None = None,
) -> Iterator[Peer]:
    """Run one proxy, all its processes on `core` if one is given.

    `fastgate` is the command that starts fastgate, `flags` what it gets besides.
    Raises PeerError when it does not answer GET / within START_S.
    """
    port = free_port()
    directory = OUT / f"{name}-{port}"
    directory.mkdir(parents=True)
    argv = ["taskset", "-c", str(core)] if core is not None else []
    argv += _argv(
        name,
        port,
        upstream_ports,
        workers,
        directory=directory,
        pinned=core is not None,
        fastgate=fastgate or fastgate_command(),
        flags=flags or [],
    )
    log = directory / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=BENCH.parent,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it
        )
    peer = Peer(name=name, port=port, process=process, log=log)
    try:
        _wait_until_it_answers(peer)
        peer.pids = procs.tree(process.pid)
        yield peer
    finally:
        # INT is the fast stop of fastgate, TERM that of the others.
        _stop(process, signal.SIGINT if name == "fastgate" else signal.SIGTERM)
        shutil.rmtree(directory)


def _stop(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    process.send_signal(how)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        for pid in reversed(procs.tree(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def backends(*, core: int | None = None) -> Iterator[list[int]]:
    """Run one backend process that listens on two ports; give the ports."""
    argv = ["taskset", "-c", str(core)] if core is not None else []
    with subprocess.Popen(
        [*argv, str(OUT / "backend"), "0", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield [int(word) for word in process.stdout.readline().split()]
        finally:
            process.kill()
