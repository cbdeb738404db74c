"""A `fastgate run` under test, reached only from outside.

`Gateway` starts the program, waits until it says that it is ready, and asks it
questions over its admin socket. `check_quiet` and `check_leaves_nothing` are the
two assertions that end every test: gauges back at zero, descriptors back at the
baseline, nothing alarming on stderr, exit code 0.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import toml
from support.client import Client, Response, fetch
from support.waiting import eventually

START_S = 20.0
STOP_S = 15.0

ALARMS = re.compile(
    r"Traceback \(most recent call last\)|AddressSanitizer|runtime error:"
    r"|LeakSanitizer|Segmentation fault|Fatal Python error|double free|corrupted"
)
LISTENING = re.compile(r"fastgate: listening on (\S+) \(listener (\S+)\)")
READY = re.compile(r"fastgate: ready, (\d+) workers?")


def package_root() -> str:
    """The directory from which `fastgate` is imported here, for the child too."""
    spec = importlib.util.find_spec("fastgate")
    if spec is not None and spec.submodule_search_locations:
        return str(Path(next(iter(spec.submodule_search_locations))).parent)
    return str(Path(__file__).resolve().parents[2])


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without FASTGATE_* settings."""
    build_switches = {"FASTGATE_DEBUG", "FASTGATE_SANITIZE"}
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("FASTGATE_") or key in build_switches
    }
    env["PYTHONPATH"] = package_root()
    env["PYTHONUNBUFFERED"] = "1"
    env["NO_COLOR"] = "1"
    return env | (extra or {})


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fastgate", *arguments]


def run_cli(
    *arguments: str, env: dict[str, str] | None = None, timeout_s: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """`fastgate ARGUMENTS` to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Lines:
    """A pipe read by a thread; lines can be waited for."""

    def __init__(self, pipe: Any) -> None:
        self.lines: list[str] = []
        self.is_ended = False
        self._changed = threading.Condition()
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.is_ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(
        self, pattern: str | re.Pattern[str], *, within_s: float = 5.0, count: int = 1
    ) -> list[re.Match[str]]:
        """The first `count` lines that match; AssertionError when they fail to come."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                found = [m for m in map(wanted.search, self.lines) if m]
                if len(found) >= count:
                    return found[:count]
                left = deadline - time.monotonic()
                if self.is_ended or left <= 0:
                    end = "ended" if self.is_ended else f"silent for {within_s} s"
                    raise AssertionError(
                        f"no {wanted.pattern!r}; {end} after:\n{self.text}"
                    )
                self._changed.wait(left)

    def join(self) -> None:
        self._thread.join(5)
        self._pipe.close()


class UnixConnection(http.client.HTTPConnection):
    """http.client over a Unix socket."""

    def __init__(self, path: str, timeout_s: float = 5.0) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from field 3 (the state) on; empty if there is no such pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(") ")[2].split()


def is_alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    fields = stat_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def session(pid: int) -> int:
    """The session that a process belongs to; 0 if it is gone."""
    fields = stat_fields(pid)
    return int(fields[3]) if fields else 0


def descriptors(pid: int) -> dict[int, str]:
    """The open descriptors of a process, and what each one is."""
    out: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                out[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return out


def resident_bytes(pid: int) -> int:
    """Resident memory of a process that is its own (not shared).

    Skips the test under a sanitizer, which keeps what was freed.
    """
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a sanitizer's quarantine counts as memory")
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


class Gateway:
    """One running program.

    config   a dictionary written as a TOML file
    flags    further command line flags
    prefix   a command that runs the program, say prlimit
    site     a directory with a sitecustomize.py for its Python
    """

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        flags: Sequence[str] = (),
        *,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        site: str | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fg-"))
        self.admin_socket = str(self.directory / "admin.sock")
        self.expected_exit: int | None = 0
        self.checks_quiet = True
        self.listeners: dict[str, list[str]] = {}
        self._baseline: dict[int, dict[int, str]] = {}
        arguments = ["run", "--admin-socket", self.admin_socket]
        self.config_file = self.directory / "fastgate.toml"
        self.config = config
        if config is not None:
            self.configure(config)
            arguments += ["-c", str(self.config_file)]
        arguments += flags
        variables = environment(env)
        if site:
            variables["PYTHONPATH"] = os.pathsep.join([site, variables["PYTHONPATH"]])
        self.process = subprocess.Popen(
            [*prefix, *command(*arguments)],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.stderr = Lines(self.process.stderr)
        self.stdout = Lines(self.process.stdout)

    def configure(self, config: dict[str, Any]) -> None:
        """Write the file that it reads at its start, and at a reload."""
        self.config = config
        self.config_file.write_text(toml.document(config))

    # Starting and stopping.

    def wait_ready(self) -> Gateway:
        self.stderr.wait_for(READY, within_s=START_S)
        for line in self.stderr.lines:
            if found := LISTENING.search(line):
                self.listeners.setdefault(found[2], []).append(plain(found[1]))
        for pid in [self.pid, *self.worker_pids()]:
            self._baseline[pid] = descriptors(pid)
        return self

    def wait_exit(self, *, within_s: float = STOP_S) -> int:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {within_s} s; stderr:\n{self.stderr.text}"
            ) from None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """TERM, and the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait_exit()

    def destroy(self) -> None:
        """End everything that is left, whatever happened before."""
        for pid in self.session_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.stderr.join()
        self.stdout.join()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Facts.

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        """Where the first listener listens."""
        return next(iter(self.listeners.values()))[0]

    def session_pids(self) -> list[int]:
        """Every live process of this gateway: it leads a session of its own."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if is_alive(pid) and session(pid) == self.pid]

    def status(self) -> dict[str, Any]:
        """GET /status of the admin socket."""
        connection = UnixConnection(self.admin_socket)
        try:
            connection.request("GET", "/status")
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, (answer.status, body)
        return json.loads(body)

    def status_or_none(self) -> dict[str, Any] | None:
        """As `status`, or None while nobody answers there."""
        try:
            return self.status()
        except (OSError, http.client.HTTPException):
            return None

    def workers(self) -> list[dict[str, Any]]:
        return self.status()["workers"]

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.workers() if worker["pid"]]

    def endpoints(self, upstream: str = "main") -> dict[str, dict[str, Any]]:
        """The endpoints of an upstream by address."""
        listed = self.status()["upstreams"][upstream]["endpoints"]
        return {endpoint["address"]: endpoint for endpoint in listed}

    def in_flight(self, upstream: str = "main") -> dict[str, int]:
        found = self.endpoints(upstream).items()
        return {address: endpoint["in_flight"] for address, endpoint in found}

    def generations(self) -> list[int]:
        """The generations that have a process now."""
        return sorted({w["generation"] for w in self.workers() if w["pid"]})

    # Reloading.

    def reload(self, *, within_s: float = 20.0) -> tuple[int, list[str]]:
        """POST /reload: the status of the answer, and its lines."""
        connection = UnixConnection(self.admin_socket, within_s)
        try:
            connection.request("POST", "/reload")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["lines"]
        finally:
            connection.close()

    # Asking for pages.

    def client(self, **kwargs: Any) -> Client:
        return Client(self.address, **kwargs)

    def fetch(self, *args: Any, **kwargs: Any) -> Response:
        return fetch(self.address, *args, **kwargs)

    # The assertions that end every test.

    def alarms(self) -> list[str]:
        lines = [*self.stderr.lines, *self.stdout.lines]
        return [line for line in lines if ALARMS.search(line)]

    def check_quiet(self, *, within_s: float = 1.0) -> None:
        """Nothing alarming was said, and no request is counted as in flight."""
        assert not self.alarms(), self.stderr.text
        if self.process.poll() is not None or not self.checks_quiet:
            return

        def busy() -> dict[str, int]:
            return {
                f"{name} {endpoint['address']}": endpoint["in_flight"]
                for name, upstream in self.status()["upstreams"].items()
                for endpoint in upstream["endpoints"]
                if endpoint["in_flight"] != 0
            }

        eventually(lambda: not busy(), within_s=within_s, what="all in-flight zero")

    def leaked(self) -> dict[str, list[str]]:
        """Descriptors that master and workers hold beyond their baseline.

        A worker that came later is held to the baseline of the first one.
        """
        workers = [pid for pid in self._baseline if pid != self.pid]
        out: dict[str, list[str]] = {}
        for pid in [self.pid, *self.worker_pids()]:
            known = self._baseline.get(pid) or self._baseline[workers[0]]
            now = descriptors(pid)
            if len(now) > len(known):
                extra = sorted(set(now.values()) - set(known.values()))
                out[f"{pid} ({len(known)} -> {len(now)})"] = extra
        return out

    def check_leaves_nothing(self, *, within_s: float = 3.0) -> None:
        """Call when clients and origins have closed: descriptors, exit, processes."""
        if self.process.poll() is None and self._baseline and self.checks_quiet:
            eventually(
                lambda: not self.leaked(),
                within_s=within_s,
                what=f"descriptors back at the baseline; {self.leaked()}",
            )
        code = self.stop()
        if self.expected_exit is not None:
            assert code == self.expected_exit, self.stderr.text
        eventually(
            lambda: not self.session_pids(),
            within_s=5,
            what="no process left behind",
        )
        assert not self.alarms(), self.stderr.text


def plain(url: str) -> str:
    """`http://HOST:PORT` or `http://unix:/path` as the configuration writes it."""
    return url.removeprefix("http://").rstrip("/")
