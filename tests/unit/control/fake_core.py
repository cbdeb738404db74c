"""A double of `fastgate._core`: shared memory and an engine, in plain Python.

The engine speaks one line a time: `pid` answers with the worker's pid, `hold`
keeps an exchange open until the connection ends, `hang` stops the worker's loop,
`raise` fails in it, `crash` ends the process, `junk` sends the master what is no
message. Each line makes one line of access log.
FAKE_CORE in the environment makes it fail: `boot` raises at once, `room` has no
shared memory, `die` kills the worker before it is ready, `unless PATH` raises while
PATH does not exist, `hang unless PATH` hangs then.
"""

import mmap
import os
import select
import signal
import socket
import struct
import time
from pathlib import Path

from fastgate.dataplane.telemetry.logwriter import LineWriter  # noqa: F401 - the real one

GAUGES = ("connections", "exchanges")
TOTALS = ("requests",)
HEALTH = ("unchecked", "up", "down", "waiting")
STATES = ("empty", "booting", "ready", "draining", "dead", "left")
ROW = struct.Struct("=iiiqi")  # pid, generation, state, heartbeat_ms, leases
SLOT = struct.Struct("=ii")  # health, weight


def now_ms():
    return time.monotonic_ns() // 1_000_000


def send_junk():
    """Write nonsense into whatever looks like the channel to the master."""
    for name in os.listdir("/proc/self/fd"):
        try:
            end = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with end:
            if end.type == socket.SOCK_SEQPACKET:
                end.send(b"junk")


class Members:
    """Slots in the order in which they are asked for, each address once."""

    room = 64

    def __init__(self, region, *, found=False):
        self._region = region
        self._rows = {}

    def take(
        self, upstream, address, *, host, weight=1, health="unchecked", lanes=0xFF, **_
    ):
        key = (upstream, address, host)
        index, before = self._rows.get(key, (len(self._rows), 0))
        self._rows[key] = index, before | lanes
        self._region.set_endpoint(index, weight=weight)
        self._region.set_health(index, "down" if host is None else health)
        return index

    def give_up(self, index, lanes=0xFF):
        for key, (row, before) in self._rows.items():
            if row == index:
                self._rows[key] = row, before & ~lanes

    def slots(self):
        return [(index, lanes) for index, lanes in self._rows.values() if lanes]

    def weigh(self, index, weight):
        self._region.set_endpoint(index, weight=weight)

    def publish(self):
        pass


class Region:
    def __init__(self, workers, endpoints):
        if os.environ.get("FAKE_CORE") == "room":
            raise ValueError("the fake core has no room")
        self.workers, self.endpoints = workers, endpoints
        self.fd = -1
        self._map = mmap.mmap(-1, ROW.size * workers + SLOT.size * endpoints)

    @staticmethod
    def create(workers, endpoints, found=0):
        return Region(workers, endpoints + found)

    def _row(self, slot):
        return list(ROW.unpack_from(self._map, ROW.size * slot))

    def _write(self, slot, **changes):
        names = ("pid", "generation", "state", "heartbeat_ms", "leases")
        row = dict(zip(names, self._row(slot), strict=True)) | changes
        ROW.pack_into(self._map, ROW.size * slot, *row.values())

    def begin_worker(self, slot, pid, generation):
        state = self._row(slot)[2]
        changes = {"pid": pid, "generation": generation, "heartbeat_ms": now_ms()}
        self._write(slot, state=1 if state in (0, 4, 5) else state, **changes)

    def set_worker_state(self, slot, state):
        self._write(slot, state=STATES.index(state))

    def heartbeat(self, slot):
        self._write(slot, heartbeat_ms=now_ms())

    def heartbeat_age_ms(self, slot):
        return now_ms() - self._row(slot)[3]

    def lease(self, slot):
        self._write(slot, leases=self._row(slot)[4] + 1)

    def reclaim_worker(self, slot):
        leases = self._row(slot)[4]
        self._write(slot, leases=0, pid=0, state=4)
        return leases

    def worker(self, slot):
        pid, generation, state, heartbeat_ms, leases = self._row(slot)
        return {
            "pid": pid,
            "generation": generation,
            "state": STATES[state],
            "heartbeat_age_ms": now_ms() - heartbeat_ms,
            "exchanges": leases,
            "connections": 0,
            "requests": 7,
        }

    def endpoint(self, index):
        at = ROW.size * self.workers + SLOT.size * index
        health, weight = SLOT.unpack_from(self._map, at)
        return {
            "state": "down" if health > 1 else "up",
            "admin": "enabled",
            "health": HEALTH[health],
            "since_ms": 0,
            "weight": weight,
            "in_flight": sum(self._row(slot)[4] for slot in range(self.workers)),
            "total": 3,
            "failures": 1,
            "connects": 2,
            "latency_us": 1500,
            "skipped_ms": 0,
        }

    def set_health(self, index, health):
        at = ROW.size * self.workers + SLOT.size * index
        weight = SLOT.unpack_from(self._map, at)[1]
        SLOT.pack_into(self._map, at, HEALTH.index(health), weight)

    def set_endpoint(self, index, *, weight):
        at = ROW.size * self.workers + SLOT.size * index
        health = SLOT.unpack_from(self._map, at)[0]
        SLOT.pack_into(self._map, at, health, weight)


class Plan:
    def __init__(self, *, gateway, listeners, upstreams, routes):
        self.gateway, self.listeners = gateway, listeners
        self.upstreams, self.routes = upstreams, routes


class Engine:
    def __init__(self, region, slot, plan, listeners, access_log_fd, _lanes):
        fault = os.environ.get("FAKE_CORE", "")
        if fault == "boot" or (
            fault.startswith("unless ") and not Path(fault[7:]).exists()
        ):
            raise RuntimeError("the fake core was told to fail")
        if fault.startswith("hang unless ") and not Path(fault[12:]).exists():
            signal.pause()
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self._region, self._slot, self._log_fd = region, slot, access_log_fd
        self._epoll = select.epoll()
        self.fd = self._epoll.fileno()
        self._listeners = [socket.socket(fileno=os.dup(fd)) for fd, _ in listeners]
        self._connections = {}
        self._held = set()
        self._lines = []
        for listener in self._listeners:
            self._epoll.register(listener, select.EPOLLIN)

    @property
    def connections(self):
        return len(self._connections)

    @property
    def exchanges(self):
        return len(self._held)

    def poll(self):
        for fd, _ in self._epoll.poll(0):
            if fd in self._connections:
                self._read(self._connections[fd])
                continue
            for listener in self._listeners:
                if listener.fileno() == fd:
                    self._accept(listener)

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            self._connections[connection.fileno()] = connection
            self._epoll.register(connection, select.EPOLLIN)

    def _read(self, connection):
        try:
            data = connection.recv(100)
        except OSError:
            data = b""
        if not data:
            del self._connections[connection.fileno()]
            self._held.discard(connection)
            connection.close()
            return
        word = data.decode().strip()
        self._lines.append(word)
        if word == "hang":
            signal.pause()
        elif word == "raise":
            raise RuntimeError("the fake engine was told to fail")
        elif word == "crash":
            os._exit(5)
        elif word == "junk":
            send_junk()
        elif word == "hold":
            self._held.add(connection)
            self._region.lease(self._slot)
        connection.send(f"{os.getpid()}\n".encode())

    def leave(self, handed_on):
        for listener, is_handed_on in zip(self._listeners, handed_on, strict=True):
            if not is_handed_on:
                self._accept(listener)
            self._epoll.unregister(listener)
            listener.close()
        self._listeners = []

    def drain(self):
        self.leave(bytes(len(self._listeners)))

    def is_drained(self):
        return not self._held

    def log_state(self):
        return 0, 0, True

    def follow(self):
        pass

    def take_incidents(self, leaving=False):
        return [], 0

    def flush_log(self):
        if self._lines and self._log_fd >= 0:
            os.write(self._log_fd, "".join(f"{w}\n" for w in self._lines).encode())
        self._lines = []

    def reopen_log(self, fd):
        self.flush_log()
        os.close(self._log_fd)
        self._log_fd = fd

    def close(self):
        self.flush_log()
        for connection in [*self._connections.values(), *self._listeners]:
            connection.close()
        self._epoll.close()
