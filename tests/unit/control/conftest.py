"""A gateway over the fake core in a process of its own, and a log that remembers."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fastgate

HERE = Path(__file__).parent
ROOT = Path(fastgate.__file__).parents[1]
PATIENCE_S = 20.0


class Tiny:
    """`tiny_master.py` running; `wait_for` reads its error log line by line."""

    def __init__(
        self,
        gateway=None,
        *,
        environment=None,
        listeners=None,
        upstreams=None,
        file=None,
    ):
        self.config = config = {
            "gateway": {"workers": 2, "pin": False, "drain": "5s"} | (gateway or {}),
            "listeners": listeners or {"main": {"address": "127.0.0.1:0"}},
            "upstreams": upstreams
            or {"main": {"endpoints": ["127.0.0.1:9", "127.0.0.1:10"]}},
            "routes": [{"name": "main", "upstream": "main"}],
        }
        self._reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "tiny_master.py"),
                json.dumps(config),
                *([str(file)] if file else []),
            ],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
            stderr=writer,
            start_new_session=True,
        )
        os.close(writer)
        os.set_blocking(self._reader, False)
        self.seen = ""
        self._unread = 0

    def wait_for(self, pattern):
        """Give the next match of `pattern` in what it says."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = re.compile(pattern).search(self.seen, self._unread)
            if found:
                self._unread = found.end()
                return found
            if not self._read(deadline):
                raise AssertionError(f"no {pattern!r} in:\n{self.seen}")

    def _read(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._reader], [], [], left)[0]:
            return False
        data = os.read(self._reader, 65536)
        self.seen += data.decode()
        return bool(data)

    def wait_ready(self):
        self.port = int(self.wait_for(r"listening on http://127.0.0.1:(\d+)")[1])
        self.wait_for(r"ready, \d+ worker")
        return self

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    def tell(self, word):
        """Say one word to some worker; its pid, or None when it did not answer."""
        with self.connect() as connection:
            return self.say(connection, word)

    @staticmethod
    def say(connection, word):
        connection.sendall(word.encode())
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(100)
            return int(answer) if answer else None

    def children(self):
        """Give the pids of its children, in the order of their birth."""
        pid = self.process.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in listed.split()]

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self):
        code = self.process.wait(PATIENCE_S)
        while self._read(time.monotonic() + PATIENCE_S):
            pass  # to the end of the pipe: no child holds it any more
        return code

    def destroy(self):
        for pid in self.session():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        os.close(self._reader)

    def session(self):
        """Give the pids of all its processes, orphans too: they share a session."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2]
                if fields.split()[3] == str(self.process.pid):
                    found.append(int(name))
        return found


@pytest.fixture
def tiny():
    """Start gateways that end with the test."""
    started = []

    def start(*args, **kwargs):
        started.append(Tiny(*args, **kwargs))
        return started[-1]

    yield start
    for one in started:
        one.destroy()


class Remembered:
    """An error log that keeps (level, message)."""

    def __init__(self):
        self.lines = []

    def debug(self, message):
        self.lines.append(("debug", message))

    def info(self, message):
        self.lines.append(("info", message))

    def warning(self, message):
        self.lines.append(("warning", message))

    def alert(self, message):
        self.lines.append(("error", message))


@pytest.fixture
def log():
    return Remembered()


def wait_gone(pid):
    """Wait, on its pidfd, until a process that is not our child has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], PATIENCE_S)[0], f"{pid} still runs"
    finally:
        os.close(fd)


@pytest.fixture
def gone():
    return wait_gone
