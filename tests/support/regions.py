"""Shared memory as tests want it."""

from __future__ import annotations

from fastgate._core import Members, Region


def region_of(workers: int, endpoints: int) -> Region:
    """A region whose slots are all members of one upstream: up, with weight 1."""
    region = Region.create(workers, endpoints)
    members = Members(region)
    for index in range(endpoints):
        members.take(
            "test", str(index), family="inet", host="192.0.2.1", port=index & 0xFFFF
        )
    members.publish()
    return region
