import pytest

from fastgate._core import Region
from fastgate.control.membership import Membership
from fastgate.errors import StartError


def upstreams(*ports):
    return [
        {
            "name": "users",
            "health": None,
            "endpoints": [
                {
                    "address": f"127.0.0.1:{port}",
                    "family": "inet",
                    "host": "127.0.0.1",
                    "port": port,
                    "scope": 0,
                    "weight": 1,
                    "up": True,
                }
                for port in ports
            ],
        }
    ]


def slots_of(tables):
    return [endpoint["index"] for table in tables for endpoint in table["endpoints"]]


def test_an_endpoint_of_two_generations_has_one_slot():
    membership = Membership(Region.create(1, 4))
    old, new = upstreams(1, 2), upstreams(2, 3)
    lanes = membership.begin(old), membership.begin(new)

    assert len(set(lanes)) == 2
    assert slots_of(old) == [0, 1]
    assert slots_of(new) == [1, 2]


def test_a_generation_that_ends_gives_up_what_only_it_had():
    region = Region.create(1, 3)
    membership = Membership(region)
    old = membership.begin(upstreams(1, 2))
    membership.begin(upstreams(2, 3))
    membership.end(old)

    states = [region.endpoint(slot)["state"] for slot in range(3)]
    assert states == ["unused", "up", "up"]


def test_without_room_nothing_is_begun_and_the_reason_is_told():
    region = Region.create(1, 2)
    membership = Membership(region)
    membership.begin(upstreams(1))

    with pytest.raises(StartError, match="no room for another endpoint"):
        membership.begin(upstreams(1, 2, 3))
    assert region.endpoint(0)["state"] == "up"
    assert region.endpoint(1)["state"] == "unused"
    assert membership.begin(upstreams(1, 2))


def test_lanes_are_used_again_and_not_shared():
    membership = Membership(Region.create(1, 1))
    lanes = [membership.begin(upstreams(1)) for _ in range(8)]

    assert sorted(lanes) == [1 << i for i in range(8)]
    with pytest.raises(StartError, match="generations"):
        membership.begin(upstreams(1))
    membership.end(lanes[3])
    assert membership.begin(upstreams(1)) == lanes[3]


def test_a_successor_goes_on_with_the_lanes_that_are_in_use():
    region = Region.create(1, 1)
    first = Membership(region).begin(upstreams(1))

    assert Membership(region).begin(upstreams(1)) != first
