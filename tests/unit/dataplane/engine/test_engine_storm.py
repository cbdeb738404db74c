"""Clients and services that do anything, in any order: nothing may be left over.

Each seed is one sequence of sends, ends, resets and turns of the engine. What is
asked of the engine is little: that it stands (the more under sanitizers), that
its connections end when everybody has gone, that gauges and leases are zero then,
and at every moment before: no more leases than exchanges, no more connections than
the limit.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from typing import Any

import pytest
from support.lab import OK, UPGRADE, Lab, is_readable, request

SEEDS = int(os.environ.get("STORM_SEEDS", "60"))
STEPS = 150
RESET = b"\1\0\0\0\0\0\0\0"

CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
)
REQUESTS = [
    request(),
    request() * 30,
    request("/", "HEAD"),
    request("/", "POST", b"a" * 10),
    request("/", "POST", b"b" * 300_000),
    request("/", "PUT", b"c" * 40_000, "Expect: 100-continue"),
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nno",
    b"GET nonsense\r\n\r\n",
    UPGRADE,
    UPGRADE + request(),
    CHUNKED,
    CHUNKED + request(),
    CHUNKED.replace(b"3;", b"z;"),
]
ANSWERS = [
    OK,
    OK,
    OK + b"too much",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"d" * 400_000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"4\r\nwiki\r\n" * 3000
    + b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwi",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"nonsense\r\n\r\n",
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"half_close": False, "max_body": "20k", "deadline": "40ms"},
    {"keepalive": "10ms", "header_timeout": "15ms", "body_timeout": "15ms"},
    {"keepalive_requests": 3, "send_timeout": "15ms", "buffer_response": "16k"},
    {"max_conns": 5},
    {
        "send_timeout": "20ms",
        "min_send_rate": "100kB/s",
        "lingering_timeout": "10ms",
        "keepalive": "40ms",
    },
    {"lingering_time": "0s", "send_timeout": "1s"},
]
UPSTREAMS: list[dict[str, Any]] = [
    {},
    {"upstream_max": 1, "queue": 3, "queue_timeout": "20ms"},
    {"upstream_timeout": "10ms", "between_timeout": "10ms", "tunnel_timeout": "10ms"},
    {"upstream_pool": 1, "upstream_idle": "5ms", "eject": "off"},
    {"balance": "least-connections", "retries": 3, "eject": "1/5ms"},
    {"buffer_request": "2k", "upstream_max": 1, "retries": 2},
    {"upstream_max": 2, "queue": 8, "retries": 3, "eject": "2/10ms"},
]


class Storm:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.endpoints = self.dice.randint(1, 3)
        upstream = self.dice.choice(UPSTREAMS)
        self.most_open = upstream.get("upstream_max", 1 << 20) * self.endpoints
        self.lab = Lab(
            endpoints=self.endpoints,
            upstream=upstream,
            send_bytes=self.dice.choice([0, 4608]),
            **self.dice.choice(SETTINGS),
        )
        self.clients: list[socket.socket] = []
        self.served: list[socket.socket] = []
        self.rest: dict[socket.socket, bytes] = {}

    def step(self) -> None:
        often = [self.say, self.answer, self.hear, self.turn]
        action = self.dice.choice([self.join, self.accept, self.leave, *often, *often])
        with contextlib.suppress(OSError):
            action()
        self.recount()

    def recount(self) -> None:
        held = [self.lab.endpoint(n)["in_flight"] for n in range(self.endpoints)]
        assert min(held) >= 0
        assert sum(held) <= self.lab.row["exchanges"]
        assert self.lab.row["upstream_connections"] <= self.most_open

    def join(self) -> None:
        if len(self.clients) < 8:
            client = self.lab.client(self.dice.choice([0, 4096]))
            client.setblocking(False)
            self.clients.append(client)

    def send(self, sock: socket.socket, whole: bytes) -> None:
        """Some of what is left to say, or of something new."""
        data = self.rest.pop(sock, b"") or whole
        n = self.dice.choice([len(data), self.dice.randint(1, len(data))])
        sent = sock.send(data[:n])
        self.rest[sock] = data[sent:]

    def say(self) -> None:
        if self.clients:
            self.send(self.dice.choice(self.clients), self.dice.choice(REQUESTS))

    def accept(self) -> None:
        listening = [one for one in self.lab.services if is_readable(one)]
        if listening:
            sock, _ = self.dice.choice(listening).accept()
            sock.setblocking(False)
            self.lab.open.append(sock)
            self.served.append(sock)

    def answer(self) -> None:
        if self.served:
            sock = self.dice.choice(self.served)
            with contextlib.suppress(BlockingIOError):
                sock.recv(self.dice.choice([10, 1000, 1 << 20]))
            self.send(sock, self.dice.choice(ANSWERS))

    def hear(self) -> None:
        if both := self.clients + self.served:
            self.dice.choice(both).recv(self.dice.choice([1, 1000, 1 << 20]))

    def leave(self) -> None:
        group = self.dice.choice([self.clients, self.served])
        if group:
            sock = self.dice.choice(group)
            if self.dice.randint(0, 1):
                sock.shutdown(socket.SHUT_WR)
                return
            group.remove(sock)
            if self.dice.randint(0, 1):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()

    def turn(self) -> None:
        if self.dice.randint(0, 20) == 0:
            self.lab.pause(0.02)
        self.lab.poll()

    def calm(self) -> None:
        """Everybody goes, and so must what the engine has of them."""
        for sock in self.clients + self.served:
            sock.close()
        self.lab.until(self.has_ended, "every connection to end")

    def has_ended(self) -> bool:
        """Refuse requests that still reach a service; is that all?"""
        for one in self.lab.services:
            while is_readable(one):
                one.accept()[0].close()
        return self.lab.engine.connections == 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_storm_leaves_nothing(seed: int) -> None:
    storm = Storm(seed)
    try:
        for _ in range(STEPS):
            storm.step()
        if seed % 3:
            storm.calm()
    finally:
        storm.lab.close()
