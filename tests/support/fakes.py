"""Heads for sides that are fakes (tests/native/exchange_probe), and random events."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import exchange_probe
from support.lab import SWITCHED, UPGRADE

GET = b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
HERE = b"GET /here HTTP/1.1\r\nHost: test\r\n\r\n"  # answered from memory
OLD = b"GET /a HTTP/1.0\r\nHost: test\r\n\r\n"
FAILED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
RESPOND: dict[str, Any] = {
    "name": "here",
    "match": {"path": "/here"},
    "respond": {"status": 200, "body": "ok"},
}


class Chance:
    """What may happen between six clients and their origins, one thing after the other.

    make_gate  the fixture
    seed       of what happens; and of how often it retries, how many may wait, ...
    """

    BAD = b"GET / HTTP/1.1\r\n\r\n"
    HEADS = (*[GET, HEAD, PUT, POST, UPGRADE] * 4, HERE, HERE, OLD, BAD)
    ANSWERS = (COUNTED, CHUNKED, EMPTY, HINTS, HINTS, SWITCHED, FAILED)
    OPENS = (
        *["ready", "pooled", "waits"] * 4,
        "upstream-connect", "upstream-busy", "local-connect", "overload",
    )  # fmt: skip

    def __init__(self, make_gate: Callable[..., Any], seed: int) -> None:
        self.rng = random.Random(seed)
        choice = self.rng.choice
        self.gate = make_gate(
            choice([1, 2, 4]),
            routes=[RESPOND],
            max_body=choice([0, 8]),
            upstream={
                "upstream_max": choice([0, 1, 2]),
                "queue": choice([0, 1, 8]),
                "queue_timeout": choice(["100ms", "10s"]),
                "retry": {
                    "on": choice([["connect", "reset"], ["timeout", "bad", 503]]),
                    "tries": choice([0, 1, 3]),
                    "backoff": choice([0, "30ms"]),
                    "methods": choice(["idempotent", "all"]),
                    "per_try": choice([0, "200ms"]),
                },
                "buffer_request": choice([0, 6]),
                "eject": choice(["off", "2/1s"]),
            },
        )
        self.clients = [self.gate.client() for _ in range(6)]

    def moves(self) -> list[Callable[[], None]]:
        """What may happen next."""
        all_: list[Callable[[], None]] = [self.pass_time, self.gate.wake, self.pace]
        for client in self.clients:
            if client.step is None:
                all_.append(lambda c=client: self.ask(c))
            else:
                all_ += self.of_client(client)
        for origin in self.gate.origins:
            if origin.client is not None:
                all_ += self.of_origin(origin)
        return all_

    def ask(self, client: Any) -> None:
        client.queued = 0
        client.is_corked = self.rng.random() < 0.2
        client.has_more = self.rng.random() < 0.2
        self.gate.pack_fault = "loop" if self.rng.random() < 0.02 else None
        client.ask(self.rng.choice(self.HEADS))

    def pass_time(self) -> None:
        self.gate.turn_clock(self.rng.choice([1, 40, 200]))

    def pace(self) -> None:
        self.gate.is_slow = not self.gate.is_slow

    def of_client(self, client: Any) -> list[Callable[[], None]]:
        reasons = ["client-abort", "deadline"]
        all_: list[Callable[[], None]] = []
        if client.reads:
            reasons.append("body-timeout")
            if client.may_send:
                all_ += [lambda: client.body(b"abc"), client.end] * 3
        if client.queued:
            reasons.append("send-timeout")
            all_ += [client.take] * 4
        if self.rng.random() < 0.1:
            all_.append(lambda: client.fail(self.rng.choice(reasons)))
        if self.rng.random() < 0.05:
            all_.append(lambda: self.break_(client))
        return all_

    def break_(self, client: Any) -> None:
        """Its connection is reset."""
        client.queued = exchange_probe.BROKEN
        client.fail("client-abort")

    def of_origin(self, origin: Any) -> list[Callable[[], None]]:
        if origin.is_connecting:
            return [
                origin.ready,
                origin.ready,
                lambda: origin.fail("upstream-connect"),
                lambda: origin.fail("upstream-connect-timeout"),
            ]
        all_: list[Callable[[], None]] = []
        if origin.queued:
            all_ += [origin.take] * 4
        if not origin.head_done:
            reasons = ["upstream-reset", "upstream-bad-response", "upstream-timeout"]
            all_ += [lambda: self.answer(origin)] * 4
        else:
            reasons = ["upstream-cut", "upstream-stalled"]
            if not origin.ended:
                all_ += [lambda: origin.body(b"xyz"), origin.end] * 3
        if self.rng.random() < 0.5:
            all_.append(lambda: origin.fail(self.rng.choice(reasons)))
        return all_

    def answer(self, origin: Any) -> None:
        """A head; one behind which no body comes is followed by the end."""
        client = origin.client
        head = self.rng.choice(self.ANSWERS)
        origin.answer(head)
        if origin.client is None or not origin.head_done:
            return
        if client.heard[-1].split()[2:3] == ["bodiless"]:
            origin.end()

    def step(self) -> None:
        while len(self.gate.opens) < 8:
            self.gate.opens.append(self.rng.choice(self.OPENS))
        self.rng.choice(self.moves())()

    def check(self) -> None:
        """What holds between any two events."""
        gate = self.gate
        steps = [client.step for client in self.clients if client.step is not None]
        assert gate.complaints == []
        assert gate.exchanges == (len(steps), len(steps))
        assert gate.waiting == [steps.count("queued")]
        assert gate.leases == gate.connections
        assert sum(gate.leases) == sum(
            step in {"connect", "forward", "relay", "tunnel"} for step in steps
        )
        assert gate.row["ends"] == gate.row["requests"] - len(steps)

    def leave(self) -> None:
        """The worker ends, or all clients go."""
        if self.rng.random() < 0.5:
            self.gate.close()
            return
        for client in self.clients:
            if client.step is not None:
                client.fail("client-abort")
