"""The queue before an upstream: who waits is served by whatever comes free."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from support.lab import OK, Lab, is_readable, request

MakeLab = Callable[..., Lab]

ONE_EACH = {"upstream_max": 1, "queue": 4, "queue_timeout": "60s", "retries": 0}


def asking(lab: Lab, path: str = "/") -> socket.socket:
    """A client whose request is with an endpoint, or waits for one."""
    client = lab.client()
    client.sendall(request(path))
    lab.settle()
    return client


def begun(lab: Lab) -> int:
    """Which endpoint the engine has just connected to."""
    lab.until(lambda: any(map(is_readable, lab.services)), "a connection")
    return next(n for n, one in enumerate(lab.services) if is_readable(one))


# What no event tells of: other processes write it into shared memory.


def test_who_waits_is_served_when_an_ejection_ends(make_lab: MakeLab) -> None:
    lab = make_lab(endpoints=2, upstream=ONE_EACH | {"eject": "1/200ms"})
    asking(lab)
    ejected = begun(lab)
    lab.accept(ejected).close()
    lab.settle()
    asking(lab)
    lab.read(lab.accept(1 - ejected), b"\r\n\r\n")
    asking(lab, "/waits")
    assert not is_readable(lab.services[ejected])

    service = lab.accept(ejected)

    assert lab.read(service, b"\r\n\r\n").startswith(b"GET /waits ")


def test_who_waits_is_served_when_an_endpoint_comes_up(make_lab: MakeLab) -> None:
    lab = make_lab(endpoints=2, upstream=ONE_EACH)
    lab.region.set_endpoint(0, state="down")
    asking(lab)
    lab.read(lab.accept(1), b"\r\n\r\n")
    asking(lab, "/waits")
    lab.region.set_endpoint(0, state="up")

    service = lab.accept(0)

    assert lab.read(service, b"\r\n\r\n").startswith(b"GET /waits ")


def test_an_empty_queue_wakes_nobody(make_lab: MakeLab) -> None:
    lab = make_lab(upstream=ONE_EACH)
    first = asking(lab)
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    second = asking(lab)
    for client in (first, second):
        service.sendall(OK)
        lab.read(client, b"ok")
    lab.pause(0.1)

    assert not select.select([lab.engine.fd], [], [], 0.2)[0]
