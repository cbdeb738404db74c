"""One `_core.Engine` in this process, turned by hand.

What another process would do at any time happens here between two calls of
`poll`, so that a test decides which events one batch holds, and in which order.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from fastgate._core import GAUGES, Engine, Plan, Region
from fastgate.config.model import Config
from fastgate.control.membership import Membership
from fastgate.control.plan import PlanValues, make_plan
from fastgate.control.sockets import BoundListener, Place

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
)


class _Silent:
    """A log that keeps quiet."""

    def debug(self, message: str) -> None: ...

    info = warning = alert = debug


def values_of(
    endpoints: list[str],
    *,
    upstream: dict[str, Any] | None = None,
    listener: dict[str, Any] | None = None,
    path: str = "/",
    routes: list[dict[str, Any]] | None = None,
    **settings: Any,
) -> PlanValues:
    """One listener, one route to one upstream: all named `main`.

    upstream, listener  further keys of theirs
    path      prefix of the route
    routes    further ones
    settings  keys of [gateway]
    """
    config = Config.model_validate(
        {
            "gateway": settings,
            "listeners": {"main": {"address": "127.0.0.1:0"} | (listener or {})},
            "upstreams": {"main": {"endpoints": endpoints} | (upstream or {})},
            "routes": [
                {"name": "main", "upstream": "main", "match": {"path_prefix": path}},
                *(routes or []),
            ],
        }
    )
    place = Place(socket.AF_INET, "127.0.0.1", 80)
    bound = BoundListener(place, "main", "127.0.0.1:80", 80, "http", [], False)
    return make_plan(config, [bound], _Silent())


def plan_of(values: PlanValues) -> Plan:
    return Plan(
        gateway=values.gateway,
        listeners=values.listeners,
        upstreams=values.upstreams,
        routes=values.routes,
    )


class Lab:
    """An engine, one listener before it, and a listening socket per endpoint.

    endpoints  how many; they are `services`, in order
    upstream   further keys of the upstream
    listener   further keys of the listener
    send_bytes  SO_SNDBUF of clients' connections at the engine's end
    log_fd     where lines go, or -1
    slot       the worker's, in a region of slot + 1 rows
    spare      endpoints that the region has room for beyond those
    settings   keys of [gateway]
    """

    def __init__(
        self,
        endpoints: int = 1,
        upstream: dict[str, Any] | None = None,
        send_bytes: int = 0,
        log_fd: int = -1,
        path: str = "/",
        *,
        slot: int = 0,
        spare: int = 0,
        listener: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.open: list[socket.socket] = []
        self.services = [self._listen() for _ in range(endpoints)]
        self.listener = self._listen()
        if send_bytes:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings.setdefault("access_log", "off" if log_fd < 0 else "stdout")
        values = values_of(
            [at(one) for one in self.services],
            upstream=upstream,
            listener=listener,
            path=path,
            **settings,
        )
        self.slot = slot
        self.region = Region.create(slot + 1, max(endpoints, 1) + spare)
        lane = Membership(self.region).begin(values.upstreams)
        self.region.begin_worker(slot, os.getpid(), 1)
        self.engine = Engine(
            self.region,
            slot,
            plan_of(values),
            [(self.listener.fileno(), 0)],
            log_fd,
            lane,
        )

    def _listen(self) -> socket.socket:
        sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        sock.settimeout(5)
        self.open.append(sock)
        return sock

    def client(self, receive_bytes: int = 0) -> socket.socket:
        """A connected client, not yet accepted."""
        sock = socket.socket()
        self.open.append(sock)
        sock.settimeout(5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.connect(self.listener.getsockname())
        return sock

    def accept(self, index: int = 0, receive_bytes: int = 0) -> socket.socket:
        """Take the engine's next connection to an endpoint."""
        if receive_bytes:
            self.services[index].setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes
            )
        self.until(lambda: is_readable(self.services[index]), "a connection")
        sock, _ = self.services[index].accept()
        self.open.append(sock)
        sock.settimeout(5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def tunnel(self, **kwargs: int) -> tuple[socket.socket, socket.socket]:
        """A client and a service with a tunnel between them."""
        client = self.client()
        client.sendall(UPGRADE)
        service = self.accept(**kwargs)
        self.read(service, b"\r\n\r\n")
        service.sendall(SWITCHED)
        self.read(client, b"\r\n\r\n")
        return client, service

    def serve(self, client: socket.socket, index: int = 0) -> socket.socket:
        """One plain request on a new upstream connection, which is then idle."""
        client.sendall(request())
        service = self.accept(index)
        self.answer(client, service)
        return service

    def answer(self, client: socket.socket, service: socket.socket) -> None:
        """Read a head at the service, and answer it whole."""
        self.read(service, b"\r\n\r\n")
        service.sendall(OK)
        self.read(client, b"ok")

    def ask(
        self, data: bytes | None = None, *, receive_bytes: int = 0
    ) -> tuple[socket.socket, socket.socket]:
        """A client that has sent `data`, and the service that has its head."""
        client = self.client(receive_bytes)
        client.sendall(data or request())
        service = self.accept()
        self.read(service, b"\r\n\r\n")
        return client, service

    def poll(self) -> None:
        self.engine.poll()

    def wait(self, within_s: float = 5.0) -> None:
        """Turn the engine once, as soon as it has something to do."""
        select.select([self.engine.fd], [], [], within_s)
        self.engine.poll()

    def settle(self, quiet_s: float = 0.02) -> None:
        """Turn the engine until it has had nothing to do for a moment."""
        while select.select([self.engine.fd], [], [], quiet_s)[0]:
            self.engine.poll()

    def until(
        self, claim: Callable[[], object], what: str, within_s: float = 5.0
    ) -> None:
        """Turn the engine until `claim` holds."""
        deadline = time.monotonic() + within_s
        while not claim():
            assert time.monotonic() < deadline, what
            select.select([self.engine.fd], [], [], 0.01)
            self.engine.poll()

    def read(self, sock: socket.socket, ends_with: bytes) -> bytes:
        """Read until `ends_with` has come; AssertionError if the peer ends first."""
        data = b""
        while not data.endswith(ends_with):
            self.until(lambda: is_readable(sock), f"{ends_with!r} after {data!r}")
            piece = sock.recv(65536)
            assert piece, f"ended before {ends_with!r}: {data!r}"
            data += piece
        return data

    def read_end(self, sock: socket.socket) -> bytes:
        """Read until the peer's FIN."""
        data = b""
        while True:
            self.until(lambda: is_readable(sock), f"the end after {data!r}")
            piece = sock.recv(65536)
            if not piece:
                return data
            data += piece

    def read_any_end(self, sock: socket.socket) -> tuple[bytes, str]:
        """Read until the peer's end, and say which: `fin` or `reset`."""
        data = b""
        while True:
            self.until(lambda: is_readable(sock), f"an end after {len(data)} bytes")
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                return data, "reset"
            if not piece:
                return data, "fin"
            data += piece

    def pause(self, for_s: float) -> None:
        """Turn the engine whenever it wants, for a time."""
        end = time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0:
            if select.select([self.engine.fd], [], [], left)[0]:
                self.engine.poll()

    def is_due(self) -> bool:
        """Whether the engine has something to do."""
        return is_readable(self.engine)

    @property
    def row(self) -> dict[str, Any]:
        return self.region.worker(self.slot)

    def endpoint(self, index: int = 0) -> dict[str, Any]:
        return self.region.endpoint(index)

    def close(self) -> None:
        """End everything; no gauge may be left above zero."""
        for sock in self.open:
            sock.close()
        if self.engine.fd >= 0:
            self.settle()
        self.engine.close()
        self.engine.close()
        row = self.row
        left = {name: row[name] for name in GAUGES if row[name]}
        assert not left, left
        for index in range(self.region.endpoints):
            assert self.endpoint(index)["in_flight"] == 0
        gc.collect()


def at(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


def is_readable(one: socket.socket | Engine) -> bool:
    fd = one.fd if isinstance(one, Engine) else one.fileno()
    return bool(select.select([fd], [], [], 0)[0])


def request(
    path: str = "/", method: str = "GET", body: bytes = b"", *fields: str
) -> bytes:
    """A request with its framing."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *fields]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
