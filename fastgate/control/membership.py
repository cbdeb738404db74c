"""Which slots of shared memory the endpoints of each configuration have.

Runs in: master.

A generation of workers has a lane: the bit by which it knows its own endpoints among
those of shared memory. An endpoint that the next configuration names too, at the same
address, keeps its slot, and so its state, its counts and its weight at run time.
"""

from typing import TYPE_CHECKING, Any

from fastgate._core import Members
from fastgate.control.health import first_health
from fastgate.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastgate._core import Region

_LANES = 8


class Membership:
    """The master's part of the endpoints in shared memory."""

    def __init__(self, region: "Region") -> None:
        """Go on from what the region has: nothing, or a predecessor's generations."""
        self._region = region
        self._members = Members(region)
        self._lanes = 0
        for _, lanes in self._members.slots():
            self._lanes |= lanes

    def begin(self, upstreams: "Iterable[dict[str, Any]]") -> int:
        """Give each endpoint of a generation its slot, as its `index`.

        returns  the generation's lane
        Raises StartError when there is no room; nothing is changed then.
        """
        lane = next((1 << i for i in range(_LANES) if not self._lanes & 1 << i), None)
        if lane is None:
            raise StartError(f"{_LANES} generations of workers are alive: wait")
        self._lanes |= lane
        try:
            for upstream in upstreams:
                for endpoint in upstream["endpoints"]:
                    health = first_health(upstream["health"], has_place=endpoint["up"])
                    endpoint["index"] = self._members.take(
                        upstream["name"],
                        endpoint["address"],
                        family=endpoint["family"],
                        host=endpoint["host"],
                        port=endpoint["port"],
                        scope=endpoint["scope"],
                        weight=endpoint["weight"],
                        health=health,
                        lanes=lane,
                    )
        except IndexError as error:
            self.end(lane)
            raise StartError(f"shared memory: {error}; a restart makes room") from None
        except BaseException:
            self.end(lane)
            raise
        self._members.publish()
        return lane

    def settle(self, upstreams: "Iterable[dict[str, Any]]") -> None:
        """Write what a generation that takes over says of its endpoints.

        A weight that it gives as before stays what it is at run time. What checks said
        counts where there are checks.
        """
        for upstream in upstreams:
            for endpoint in upstream["endpoints"]:
                self._members.weigh(endpoint["index"], endpoint["weight"])
                if upstream["health"] is None:
                    health = first_health(None, has_place=endpoint["up"])
                    self._region.set_health(endpoint["index"], health)

    def end(self, lane: int) -> None:
        """Give up what only this generation had: it is gone, or never was."""
        for slot, lanes in self._members.slots():
            if lanes & lane:
                self._members.give_up(slot, lane)
        self._lanes &= ~lane
        self._members.publish()
