"""Which slot an endpoint has, and when another may have it."""

from __future__ import annotations

import os
from typing import Any

import balance_probe as probe
import places_probe
import pytest

from fastgate._core import Members, Region

INET = {"family": "inet", "host": "127.0.0.1", "port": 1}


def take(members: Members, name: str = "127.0.0.1:1", **changes: Any) -> int:
    return members.take("users", name, **(INET | changes))


@pytest.mark.parametrize(
    "where",
    [
        {"family": "inet", "host": "192.0.2.1", "port": 65535},
        {"family": "inet6", "host": "fe80::1", "port": 1, "scope": 3},
        {"family": "unix", "host": "/" + "p" * 106, "port": 0},
    ],
)
def test_every_family_of_address_has_a_place(where: dict[str, Any]) -> None:
    region = Region.create(1, 2)
    members = Members(region)

    assert take(members, **where) == 0
    assert region.endpoint(0)["state"] == "up"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"family": "inet", "host": "name"}, "not an IPv4"),
        ({"family": "inet6", "host": "127.0.0.1"}, "not an IPv6"),
        ({"family": "unix", "host": "/" + "p" * 107}, "too long"),
        ({"family": "x25"}, "family"),
        ({"weight": 0}, "weight"),
        ({"weight": 257}, "weight"),
        ({"lanes": 0}, "lanes"),
        ({"lanes": 256}, "lanes"),
        ({"name": "n" * 289}, "too long"),
    ],
)
def test_what_is_no_address_takes_no_slot(wrong: dict[str, Any], why: str) -> None:
    members = Members(Region.create(1, 2))

    with pytest.raises(ValueError, match=why):
        take(members, **wrong)
    assert members.slots() == []


def test_a_name_without_an_address_is_down() -> None:
    region = Region.create(1, 1)
    take(Members(region), host=None)

    assert region.endpoint(0)["state"] == "down"


def test_a_member_keeps_its_slot_and_what_is_known_of_it() -> None:
    region = Region.create(1, 4)
    members = Members(region)
    first = take(members, lanes=1)
    probe.lease(region, 0, first)

    assert take(members, lanes=2) == first
    assert members.slots() == [(first, 3)]
    assert region.endpoint(first)["total"] == 1


@pytest.mark.parametrize(
    "other", [{"port": 2}, {"host": "127.0.0.2"}, {"name": "localhost:1"}]
)
def test_another_address_is_another_slot(other: dict[str, Any]) -> None:
    members = Members(Region.create(1, 2))

    assert take(members) != take(members, **other)


def test_the_same_address_in_another_upstream_is_another_slot() -> None:
    members = Members(Region.create(1, 2))

    assert take(members) != members.take("files", "127.0.0.1:1", **INET)


def test_a_weight_set_at_run_time_stays_until_its_configuration_says_another() -> None:
    region = Region.create(1, 1)
    members = Members(region)
    slot = take(members, weight=3)
    region.set_endpoint(slot, weight=9)

    take(members, weight=4)
    members.weigh(slot, 3)
    assert region.endpoint(slot)["weight"] == 9
    members.weigh(slot, 4)
    assert region.endpoint(slot)["weight"] == 4


def test_what_one_generation_gives_up_another_still_has() -> None:
    region = Region.create(1, 1)
    members = Members(region)
    slot = take(members, lanes=3)
    members.give_up(slot, 1)

    assert members.slots() == [(slot, 2)]
    assert region.endpoint(slot)["state"] == "up"
    members.give_up(slot, 2)
    assert members.slots() == []
    assert region.endpoint(slot)["state"] == "unused"


def test_a_slot_is_nobodys_until_every_worker_knows_that_it_was_given_up() -> None:
    region = Region.create(2, 1)
    members = Members(region)
    for worker in range(2):
        region.begin_worker(worker, os.getpid(), 1)
    members.give_up(take(members))

    steps = [lambda: None, members.publish, lambda: places_probe.see(region, 0)]
    for step in steps:
        step()
        with pytest.raises(IndexError, match="no room"):
            take(members, port=2)
    places_probe.see(region, 1)
    assert take(members, port=2) == 0


def test_a_dead_worker_is_not_waited_for() -> None:
    region = Region.create(1, 1)
    members = Members(region)
    region.begin_worker(0, os.getpid(), 1)
    members.give_up(take(members))
    members.publish()
    with pytest.raises(IndexError):
        take(members, port=2)

    region.reclaim_worker(0)
    assert take(members, port=2) == 0


def test_a_slot_with_a_request_in_flight_is_nobodys() -> None:
    region = Region.create(1, 1)
    members = Members(region)
    slot = take(members)
    probe.lease(region, 0, slot)
    members.give_up(slot)
    members.publish()

    with pytest.raises(IndexError):
        take(members, port=2)
    probe.settle(region, 0, slot)
    assert take(members, port=2) == slot


def test_nothing_of_who_had_the_slot_before_is_seen_of_its_successor() -> None:
    region = Region.create(2, 1)
    members = Members(region)
    slot = take(members, weight=7)
    probe.lease(region, 1, slot)
    probe.settle(region, 1, slot, failed=True)
    probe.mark(region, slot, 1 << 62)
    probe.set_latency(region, slot, 1000)
    members.give_up(slot)
    members.publish()

    assert take(members, port=2) == slot
    assert region.endpoint(slot) | {"since_ms": 0} == {
        **region.endpoint(slot),
        "since_ms": 0,
        "state": "up",
        "weight": 1,
        "in_flight": 0,
        "total": 0,
        "failures": 0,
        "connects": 0,
        "latency_us": 0,
        "skipped_ms": 0,
    }


def test_a_writer_that_died_before_it_published_loses_no_slot() -> None:
    region = Region.create(1, 1)
    members = Members(region)
    members.give_up(take(members))
    with pytest.raises(IndexError):
        take(members, port=2)

    successor = Members(region)
    successor.publish()
    assert take(successor, port=2) == 0


def test_the_two_writers_have_parts_of_their_own() -> None:
    region = Region.create(1, 2, found=1)
    configured, found = Members(region), Members(region, found=True)

    assert (configured.room, found.room) == (2, 1)
    assert take(found) == 2
    assert take(configured) == 0
    assert take(configured, port=2) == 1
    with pytest.raises(IndexError, match="no room"):
        take(configured, port=3)
    with pytest.raises(IndexError, match="not in"):
        configured.give_up(2)
    with pytest.raises(IndexError, match="not in"):
        found.give_up(1)
    assert [configured.slots(), found.slots()] == [[(0, 255), (1, 255)], [(2, 255)]]
