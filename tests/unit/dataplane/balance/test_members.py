"""Endpoints that come and go while a worker serves."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from support.lab import Lab, is_readable, request

from fastgate._core import Members

MakeLab = Callable[..., Lab]


@pytest.fixture
def newcomer() -> Iterator[socket.socket]:
    """A service that no configuration names."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(5)
        yield sock


def add(members: Members, service: socket.socket, upstream: str = "main") -> int:
    host, port = service.getsockname()
    slot = members.take(upstream, f"{host}:{port}", family="inet", host=host, port=port)
    members.publish()
    return slot


def remove(members: Members, slot: int) -> None:
    members.give_up(slot)
    members.publish()


def test_an_endpoint_that_comes_is_asked_from_then_on(
    make_lab: MakeLab, newcomer: socket.socket
) -> None:
    lab = make_lab(spare=1)
    client = lab.client()
    lab.serve(client)
    slot = add(Members(lab.region), newcomer)
    client.sendall(request())
    lab.until(lambda: is_readable(newcomer) or is_readable(lab.services[0]), "either")
    lab.settle()
    lab.region.set_health(0, "down")
    other = lab.client()
    other.sendall(request())
    lab.until(lambda: is_readable(newcomer), "the newcomer is asked")

    assert lab.endpoint(slot)["total"] >= 1


def test_one_of_another_upstream_is_asked_nothing(
    make_lab: MakeLab, newcomer: socket.socket
) -> None:
    lab = make_lab(spare=1)
    slot = add(Members(lab.region), newcomer, upstream="other")
    client = lab.client()
    lab.serve(client)

    assert lab.endpoint(slot)["total"] == 0


def test_one_that_goes_is_asked_no_more_and_loses_its_idle_connections(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(endpoints=2)
    client = lab.client()
    services = [lab.serve(client, index) for index in range(2)]
    remove(Members(lab.region), 0)
    lab.engine.follow()

    assert services[0].recv(1) == b""
    for _ in range(4):
        client.sendall(request())
        lab.answer(client, services[1])
    assert lab.endpoint(0)["total"] == 1
    assert lab.row["upstream_connections"] == 1


def test_what_is_under_way_to_one_that_goes_is_finished_and_then_it_is_let_go(
    make_lab: MakeLab, newcomer: socket.socket
) -> None:
    lab = make_lab()
    members = Members(lab.region)
    client, service = lab.ask()
    remove(members, 0)
    lab.engine.follow()
    with pytest.raises(IndexError, match="no room"):
        add(members, newcomer)

    service.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    lab.read(client, b"ok")
    lab.settle()
    assert service.recv(1) == b""
    assert add(members, newcomer) == 0


def test_an_upstream_without_endpoints_answers_503(make_lab: MakeLab) -> None:
    lab = make_lab()
    remove(Members(lab.region), 0)
    client = lab.client()
    client.sendall(request())

    assert b" 503 " in lab.read(client, b"\n")


def test_a_worker_waits_for_room_at_the_endpoints_of_now(
    make_lab: MakeLab, newcomer: socket.socket
) -> None:
    lab = make_lab(spare=1, upstream={"upstream_max": 1})
    lab.ask()
    second = lab.client()
    second.sendall(request())
    lab.settle()
    assert not is_readable(newcomer)

    add(Members(lab.region), newcomer)
    lab.until(lambda: is_readable(newcomer), "who waited is served by who came")


def test_a_worker_says_which_membership_it_goes_by(
    make_lab: MakeLab, newcomer: socket.socket
) -> None:
    lab = make_lab()
    members = Members(lab.region)
    remove(members, 0)
    with pytest.raises(IndexError, match="no room"):
        add(members, newcomer)

    lab.engine.follow()
    assert add(members, newcomer) == 0
    client = lab.client()
    client.sendall(request())
    lab.until(lambda: is_readable(newcomer), "the slot is its successor's")


def test_who_waits_is_told_at_once_when_the_last_endpoint_goes(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(upstream={"upstream_max": 1, "queue_timeout": "1h"})
    lab.ask()
    second = lab.client()
    second.sendall(request())
    lab.settle()
    remove(Members(lab.region), 0)

    assert b" 503 " in lab.read(second, b"\n")
