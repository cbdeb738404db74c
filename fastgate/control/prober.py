"""Active checks, the round: which endpoint is checked when, and what follows.

Runs in: steward.

One prober, however many workers: what it finds stands in the endpoints' slots, where
workers read it with the load that they do anyway. The rules are those of health.py, the
asking is in probes.py.

    due -> (waits while MOST_AT_ONCE are under way) -> probe -> record -> slot, event
     `----------------- the rest of the interval -------------------------'

One timer moves everything: at a tick all that is due begins and all that has taken too
long ends. That wakes the process fifty times a second instead of a thousand, and waking
is most of what a check costs. A tick that comes late was held up with everything else
here (a stopped process, a suspended machine), and what was waited for may have come
meanwhile: so what is under way then has so much longer.
"""

import time
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import random
from typing import TYPE_CHECKING, Any

from fastgate.control.events import timestamp
from fastgate.control.health import Record, offset_s, taken_over
from fastgate.control.probes import Outcome, Place, make_probe

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from fastgate._core import Region
    from fastgate.config.model import Health
    from fastgate.control.events import Events
    from fastgate.control.logs import Log

MOST_AT_ONCE = 1024
TICK_S = 0.02
_LATE_S = 0.1
# A want is over when it was not felt for so long.
_SHORT_FOR_S = 10.0


class _Check:
    """What goes on with one endpoint.

    index    of its slot
    began_s, expires_s  of its last check, CLOCK_MONOTONIC
    since    when its health last changed, as a timestamp
    """

    def __init__(
        self,
        loop: "asyncio.AbstractEventLoop",
        upstream: str,
        endpoint: dict[str, Any],
        record: Record,
    ) -> None:
        self.upstream = upstream
        self.index: int = endpoint["index"]
        self.address: str = endpoint["address"]
        self.place = _place(endpoint)
        self.record = record
        self.probe = make_probe(loop, self.place, record.rules)
        self.began_s = self.expires_s = 0.0
        self.since: str | None = None
        self.is_closed = False

    def is_of(self, rules: "Health", endpoint: dict[str, Any]) -> bool:
        """Say whether it can go on as it is."""
        return (
            self.address == endpoint["address"]
            and self.place == _place(endpoint)
            and self.record.rules == rules
        )


class Prober:
    """Checks the endpoints of all upstreams that ask for it."""

    def __init__(
        self,
        loop: "asyncio.AbstractEventLoop",
        region: "Region",
        events: "Events",
        log: "Log",
    ) -> None:
        self._loop = loop
        self._region = region
        self._events = events
        self._log = log
        self._checks: dict[tuple[str, int], _Check] = {}
        # By when they are due; the number makes no two entries alike.
        self._due: list[tuple[float, int, _Check]] = []
        self._under_way: dict[_Check, None] = {}
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._tick_at_s = inf
        # When a check could last not be made for want of something of ours.
        self._short_s: float | None = None

    def sync(self, upstreams: "Iterable[dict[str, Any]]") -> None:
        """Check these from now on, and no others. What was checked before goes on.

        upstreams  as in the plan
        """
        wanted = {
            (upstream["name"], endpoint["index"]): (upstream["health"], endpoint)
            for upstream in upstreams
            for endpoint in upstream["endpoints"]
        }
        for key, check in list(self._checks.items()):
            rules, endpoint = wanted.get(key, (None, None))
            if rules is None or endpoint is None or not check.is_of(rules, endpoint):
                self._forget(key)
        now_s, number = time.monotonic(), 0
        for key, (rules, endpoint) in wanted.items():
            if key not in self._checks:
                self._take_over(rules, endpoint)
                if rules is not None and endpoint["host"] is not None:
                    check = self._make(key[0], rules, endpoint)
                    self._wait(check, now_s + offset_s(rules, number))
                    number += 1
        self._set_timer(now_s)

    def close(self) -> None:
        """End all checks; the slots stay as they are."""
        for key in list(self._checks):
            self._forget(key)
        if self._timer is not None:
            self._timer.cancel()

    def describe(self, upstream: str, index: int) -> dict[str, Any] | None:
        """Give what `fastgate status` shows of an endpoint's checks; None: it has none.

        Counted since this steward began; `since` is None if nothing changed since.
        """
        check = self._checks.get((upstream, index))
        if check is None:
            return None
        record = check.record
        return {
            "checks": record.checks,
            "failed": record.failed,
            "last": "passed" if record.last == "" else record.last,
            "since": check.since,
        }

    def _take_over(self, rules: "Health | None", endpoint: dict[str, Any]) -> None:
        """Go on from what stands in the slot.

        It is written in any case: whoever wrote before may have been killed between
        the health and the state that follows from it.
        """
        index = endpoint["index"]
        found = self._region.endpoint(index)["health"]
        has_place = endpoint["host"] is not None
        self._region.set_health(index, taken_over(rules, found, has_place=has_place))

    # -- the round of one endpoint

    def _make(self, upstream: str, rules: "Health", endpoint: dict[str, Any]) -> _Check:
        health = self._region.endpoint(endpoint["index"])["health"]
        check = _Check(self._loop, upstream, endpoint, Record(rules, health))
        self._checks[upstream, check.index] = check
        return check

    def _forget(self, key: tuple[str, int]) -> None:
        check = self._checks.pop(key)
        check.is_closed = True  # and so passed over when it falls due
        check.probe.close()
        self._under_way.pop(check, None)

    def _wait(self, check: _Check, due_s: float) -> None:
        heappush(self._due, (due_s, next(self._numbers), check))

    def _set_timer(self, now_s: float) -> None:
        """Wake at the next tick at which there is something to do."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._under_way:
            self._tick_at_s = now_s + TICK_S
        elif self._due:
            self._tick_at_s = max(self._due[0][0], now_s + TICK_S)
        else:
            return
        self._timer = self._loop.call_later(self._tick_at_s - now_s, self._tick)

    def _tick(self) -> None:
        now_s = time.monotonic()
        late_s = now_s - self._tick_at_s
        for check in list(self._under_way):
            if late_s > _LATE_S:
                check.expires_s += late_s
            elif now_s >= check.expires_s:
                check.probe.expire()
        while self._due and self._due[0][0] <= now_s:
            if len(self._under_way) >= MOST_AT_ONCE:
                break
            check = heappop(self._due)[2]
            if not check.is_closed:
                self._under_way[check] = None
                check.began_s = now_s
                check.expires_s = now_s + check.record.rules.timeout / 1000
                check.probe.begin(partial(self._take, check))
        self._set_timer(now_s)

    def _take(self, check: _Check, outcome: Outcome) -> None:
        del self._under_way[check]
        self._mind_shortage(outcome)
        if not outcome.is_ours:
            self._record(check, outcome.why)
        self._wait(check, check.began_s + check.record.wait_s(random()))

    def _record(self, check: _Check, why: str) -> None:
        change = check.record.take(why)
        if change is None:
            return
        self._region.set_health(check.index, change.health)
        check.since = timestamp(time.time())
        if not change.is_told:
            return
        more = ""
        if change.health == "down":
            more = f"; {self._healthy_text(check.upstream)}"
        self._events.add(
            check.upstream,
            check.address,
            change.health,
            f"health check: {change.why}",
            more,
        )

    def _healthy_text(self, upstream: str) -> str:
        checks = [c for c in self._checks.values() if c.upstream == upstream]
        healthy = sum(c.record.health in ("up", "unchecked") for c in checks)
        return f"{healthy} of {len(checks)} are healthy"

    def _mind_shortage(self, outcome: Outcome) -> None:
        """Say when checks cannot be made, and when that is over."""
        now_s = time.monotonic()
        if outcome.is_ours:
            if self._short_s is None:
                self._log.alert(f"endpoints cannot be checked: {outcome.why}")
            self._short_s = now_s
        elif self._short_s is not None and now_s - self._short_s > _SHORT_FOR_S:
            self._short_s = None
            self._log.warning("endpoints can be checked again")


def _place(endpoint: dict[str, Any]) -> Place:
    return Place(*(endpoint[key] for key in Place._fields))
