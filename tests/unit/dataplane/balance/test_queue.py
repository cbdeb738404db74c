"""The queue before an upstream: who waits is served by whatever comes free."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Callable

import pytest
from attempt_probe import Upstream
from support.addresses import reset
from support.lab import OK, Lab, is_readable, request
from support.regions import region_of

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


# The order in it.


@pytest.mark.parametrize("seed", range(8))
def test_the_queue_stands_by_age_after_every_step(seed: int) -> None:
    dice = random.Random(seed)
    upstream = Upstream(region_of(1, 1), queue=12)
    asked: dict[int, int] = {}
    model: list[int] = []
    for step in range(2000):
        number = dice.randrange(32)
        if number in model:
            upstream.leave(number)
            model.remove(number)
        else:
            # One that is retried asked long ago.
            asked[number] = step if dice.random() < 0.7 else dice.randrange(step + 1)
            taken = upstream.wait(number, asked[number])
            assert taken == (len(model) < 12)
            if taken:
                # Behind all that asked at the same time or before.
                place = sum(asked[other] <= asked[number] for other in model)
                model.insert(place, number)

        assert upstream.waiting() == model


def test_a_queue_of_none_takes_nobody() -> None:
    upstream = Upstream(region_of(1, 1), queue=0)

    assert not upstream.wait(0, 1)
    assert upstream.waiting() == []


def test_a_queue_is_looked_at_while_somebody_stands_in_it() -> None:
    upstream = Upstream(region_of(1, 1), queue=4)
    upstream.wait(0, 1)
    upstream.wait(1, 2)
    looks = [upstream.turn_clock(16) for _ in range(20)]
    upstream.leave(0)
    still = [upstream.turn_clock(16) for _ in range(20)]
    upstream.leave(1)

    assert set(looks) == set(still) == {0, 1}
    assert sum(looks) >= 5
    assert [upstream.turn_clock(16) for _ in range(20)] == [0] * 20


# Every way out gives the place back.


def during_the_upload(lab: Lab) -> socket.socket:
    client = lab.client()
    client.sendall(request("/", "POST", b"half")[:-2])
    lab.read(lab.accept(), b"ha")
    return client


def before_the_answer(lab: Lab) -> socket.socket:
    return lab.ask()[0]


def during_the_answer(lab: Lab) -> socket.socket:
    client, service = lab.ask()
    service.sendall(OK[:-1])
    lab.read(client, b"o")
    return client


def in_a_tunnel(lab: Lab) -> socket.socket:
    return lab.tunnel()[0]


def behind_an_interim_answer(lab: Lab) -> socket.socket:
    client, service = lab.ask()
    service.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    lab.read(client, b"\r\n\r\n")
    return client


HOLDERS = [
    during_the_upload,
    before_the_answer,
    during_the_answer,
    behind_an_interim_answer,
]


@pytest.mark.parametrize(
    ("holder", "leave"),
    [
        (in_a_tunnel, reset),
        *((holder, reset) for holder in HOLDERS),
        *((holder, socket.socket.close) for holder in HOLDERS),
    ],
)
def test_a_client_that_leaves_gives_its_place_to_who_waits(
    make_lab: MakeLab,
    holder: Callable[[Lab], socket.socket],
    leave: Callable[[socket.socket], None],
) -> None:
    lab = make_lab(upstream=ONE_EACH, half_close=False)
    client = holder(lab)
    waiting = asking(lab, "/waits")
    assert lab.endpoint()["in_flight"] == 1
    leave(client)
    service = lab.accept()
    assert lab.read(service, b"\r\n\r\n").startswith(b"GET /waits ")
    assert lab.endpoint()["in_flight"] == 1
    service.sendall(OK)

    assert lab.read(waiting, b"ok").startswith(b"HTTP/1.1 200")
    assert lab.endpoint()["in_flight"] == 0


@pytest.mark.parametrize("holder", [before_the_answer, during_the_answer])
def test_an_endpoint_that_takes_too_long_gives_its_place_to_who_waits(
    make_lab: MakeLab, holder: Callable[[Lab], socket.socket]
) -> None:
    times = {"upstream_timeout": "100ms", "between_timeout": "100ms"}
    lab = make_lab(upstream=ONE_EACH | times)
    holder(lab)
    asking(lab, "/waits")

    assert lab.read(lab.accept(), b"\r\n\r\n").startswith(b"GET /waits ")
    assert lab.endpoint()["in_flight"] == 1


def test_a_client_that_leaves_while_its_connection_opens_holds_nothing(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(upstream=ONE_EACH)
    lab.services[0].listen(0)
    # As many as the backlog takes: the next one hears nothing.
    fillers = [socket.socket() for _ in range(2)]
    lab.open += fillers
    for one in fillers:
        one.setblocking(False)
        one.connect_ex(lab.services[0].getsockname())
    client = asking(lab)
    assert lab.endpoint()["in_flight"] == 1
    reset(client)
    lab.settle()

    assert lab.row["upstream_connections"] == 0
    assert lab.endpoint()["in_flight"] == 0
    assert lab.endpoint()["failures"] == 0


@pytest.mark.parametrize("holder", [*HOLDERS, in_a_tunnel])
def test_a_stop_gives_every_place_back(
    make_lab: MakeLab, holder: Callable[[Lab], socket.socket]
) -> None:
    lab = make_lab(upstream=ONE_EACH)
    holder(lab)
    asking(lab, "/waits")
    lab.engine.close()

    assert lab.endpoint()["in_flight"] == 0
    assert lab.row["exchanges"] == lab.row["upstream_connections"] == 0
    assert not is_readable(lab.services[0])


def test_a_drain_serves_who_waits(make_lab: MakeLab) -> None:
    lab = make_lab(upstream=ONE_EACH)
    client, service = lab.ask()
    waiting = asking(lab, "/waits")
    lab.engine.drain()
    service.sendall(OK)
    # Nothing goes back to the pool any more: another connection takes the place.
    other = lab.accept()
    assert lab.read(other, b"\r\n\r\n").startswith(b"GET /waits ")
    other.sendall(OK)

    assert lab.read_end(client).startswith(b"HTTP/1.1 200")
    assert lab.read_end(waiting).startswith(b"HTTP/1.1 200")
    client.close()
    waiting.close()
    lab.until(lab.engine.is_drained, "the drain to end")


def test_who_leaves_the_queue_is_passed_over(make_lab: MakeLab) -> None:
    lab = make_lab(upstream=ONE_EACH)
    client, service = lab.ask()
    reset(asking(lab, "/gone"))
    asking(lab, "/waits")
    service.sendall(OK)
    lab.read(client, b"ok")

    assert lab.read(service, b"\r\n\r\n").startswith(b"GET /waits ")


def test_who_waited_longest_is_served_first_and_a_newcomer_last(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(upstream=ONE_EACH)
    _, service = lab.ask()
    for n in range(3):
        asking(lab, f"/{n}")
    # One event frees the place and brings a newcomer.
    newcomer = lab.client()
    service.sendall(OK)
    newcomer.sendall(request("/new"))
    order = []
    for _ in range(4):
        order.append(lab.read(service, b"\r\n\r\n").split()[1])
        service.sendall(OK)

    assert order == [b"/0", b"/1", b"/2", b"/new"]


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
    lab.region.set_health(0, "down")
    asking(lab)
    lab.read(lab.accept(1), b"\r\n\r\n")
    asking(lab, "/waits")
    lab.region.set_health(0, "up")

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
