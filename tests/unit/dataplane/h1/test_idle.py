"""Clients between two requests, and what becomes of one that is amid its next."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.lab import OK, Lab, is_readable, request

MakeLab = Callable[..., Lab]


class Logged:
    """A lab, and the lines that it writes."""

    def __init__(self, make_lab: MakeLab, **settings: Any) -> None:
        self.reads, self.writes = os.pipe()
        self.lab = make_lab(log_fd=self.writes, access_log_format="json", **settings)

    def lines(self) -> list[dict[str, Any]]:
        """Every line so far."""
        self.lab.settle()
        self.lab.engine.flush_log()
        self.lab.until(lambda: self.lab.engine.log_state()[2], "the log to be written")
        if not select.select([self.reads], [], [], 0)[0]:
            return []
        return [json.loads(line) for line in os.read(self.reads, 65536).splitlines()]


@pytest.fixture
def make_logged(make_lab: MakeLab) -> Iterator[Callable[..., Logged]]:
    made: list[Logged] = []

    def make(**settings: Any) -> Logged:
        made.append(Logged(make_lab, **settings))
        return made[-1]

    yield make
    for one in made:
        os.close(one.reads)
        os.close(one.writes)


def served(lab: Lab) -> tuple[socket.socket, socket.socket]:
    """A client that is idle behind its first request, and its service."""
    client, service = lab.ask()
    service.sendall(OK)
    lab.read(client, b"ok")
    return client, service


def run_out(lab: Lab) -> None:
    """The idle time is over, and the engine has not looked yet."""
    assert select.select([lab.engine.fd], [], [], 5)[0]


# The end of the idle time.


def test_a_request_that_comes_as_the_idle_time_ends_is_answered(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(keepalive="50ms")
    client, service = served(lab)
    run_out(lab)
    client.sendall(request("/late"))

    assert lab.read(service, b"\r\n\r\n").startswith(b"GET /late ")


def test_half_a_request_that_comes_as_the_idle_time_ends_may_be_completed(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(keepalive="50ms")
    client, service = served(lab)
    data = request("/late")
    run_out(lab)
    client.sendall(data[:12])
    lab.poll()
    lab.pause(0.1)
    client.sendall(data[12:])

    assert lab.read(service, b"\r\n\r\n").startswith(b"GET /late ")


def test_an_empty_line_is_no_request_when_the_idle_time_ends(make_lab: MakeLab) -> None:
    lab = make_lab(keepalive="50ms")
    client, _ = served(lab)
    run_out(lab)
    client.sendall(b"\r\n")

    assert lab.read_end(client) == b""


def test_a_first_request_that_comes_too_late_is_told_so(
    make_logged: Callable[..., Logged],
) -> None:
    logged = make_logged(header_timeout="50ms")
    client = logged.lab.client()
    logged.lab.poll()
    run_out(logged.lab)
    client.sendall(b"GET /half")

    assert logged.lab.read(client, b"\n").startswith(b"HTTP/1.1 408")
    assert [line["request"] for line in logged.lines()] == ["GET /half"]


# Leaving.


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_client_that_leaves_amid_a_head_is_logged(
    make_logged: Callable[..., Logged], is_reset: bool, is_first: bool
) -> None:
    logged = make_logged()
    lab = logged.lab
    client = lab.client() if is_first else served(lab)[0]
    client.sendall(b"GET /half HTT")
    lab.settle()
    if is_reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    line = logged.lines()[-1]

    assert (line["request"], line["status"]) == ("GET /half HTT", 499)
    assert line["reason"] == "client-abort"
    assert lab.row["connections"] == 0


@pytest.mark.parametrize("said", [b"", b"\r\n"])
def test_a_client_that_leaves_between_requests_is_not(
    make_logged: Callable[..., Logged], said: bytes
) -> None:
    logged = make_logged()
    first = logged.lab.client()
    first.sendall(said)
    logged.lab.settle()
    first.close()
    client, _ = served(logged.lab)
    client.sendall(said)
    logged.lab.settle()
    client.close()

    assert len(logged.lines()) == 1
    assert logged.lab.row["connections"] == 0


def test_a_client_whose_next_request_is_in_the_kernel_keeps_its_place(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(max_conns=1)
    client, service = served(lab)
    newcomer = lab.client()
    client.sendall(request("/next")[:9])
    lab.settle()
    client.sendall(request("/next")[9:])

    assert lab.read(service, b"\r\n\r\n").startswith(b"GET /next ")
    assert lab.read_end(newcomer).startswith(b"HTTP/1.1 503")
    assert not is_readable(client)
