"""Active checks, the rules: what becomes of an endpoint that passes or fails them.

Runs in: steward (and master, once, for what an endpoint begins with).

Nothing here waits, asks or knows the time: `Record.take` is told how each check ended
and says whether that changes anything. Health is what stands in the endpoint's slot
(docs/shared-memory.md), so a steward that follows another goes on where that one was.

    health       a check passed                a check failed
    unchecked    up                            down
    waiting      up                            down
    up           (its failures are forgotten)  down, once `fall` failed in a row
    down         up, once `rise` passed in     (its passes are forgotten)
                 a row

The first check of an endpoint decides by itself, as with HAProxy and Envoy: nothing is
known that it could be weighed against. `unchecked` takes requests, and `waiting` does
not (`initial = "down"`). A new steward cannot know what was in a row: it counts anew.

The next check begins `interval` after the last one began, or as soon as that has ended
if it took longer; `fast_interval` where the next one may change something: unless it is
up and passed last. Either is lengthened or shortened by `jitter`, so that checks which
began together drift apart. The first ones are spread over an interval, by `offset_s`.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastgate.config.model import Health

# What the first check decides about.
_UNDECIDED = ("unchecked", "waiting")
_WORDS = (*_UNDECIDED, "up", "down")


class Change(NamedTuple):
    """What a check has changed.

    health   up or down
    why      in words, for the log
    is_told  whether anybody has to know: not that what was taken for up is up
    """

    health: str
    why: str
    is_told: bool = True


@dataclass(slots=True)
class Record:
    """What is known of one endpoint from its checks.

    health          as in its slot: unchecked, waiting, up or down
    streak          checks in a row that speak against `health`
    checks, failed  counted since this steward began
    last            of the last check: None: there was none, "": passed, else why not
    """

    rules: "Health"
    health: str
    streak: int = 0
    checks: int = 0
    failed: int = 0
    last: str | None = None

    def take(self, why: str) -> Change | None:
        """Take the end of a check: "" if it passed, else why not."""
        self.checks += 1
        self.failed += bool(why)
        self.last = why
        if why:
            return self._fail(why)
        return self._pass()

    def wait_s(self, chance: float) -> float:
        """Give the time from the begin of the last check to that of the next.

        chance  0..1, uniform
        """
        is_calm = self.health == "up" and self.streak == 0
        rules = self.rules
        interval_ms = rules.interval if is_calm else rules.fast_interval_ms
        return interval_ms * (1 + (2 * chance - 1) * rules.jitter / 100) / 1000

    def _fail(self, why: str) -> Change | None:
        if self.health == "down":
            self.streak = 0
            return None
        self.streak += 1
        if self.health in _UNDECIDED:
            return self._become("down", f"{why}, at its first check")
        if self.streak < self.rules.fall:
            return None
        in_a_row = f", {self.streak} in a row" if self.streak > 1 else ""
        return self._become("down", why + in_a_row)

    def _pass(self) -> Change | None:
        if self.health == "up":
            self.streak = 0
            return None
        self.streak += 1
        if self.health in _UNDECIDED:
            is_told = self.health == "waiting"
            return self._become("up", "its first check passed", is_told=is_told)
        if self.streak < self.rules.rise:
            return None
        checks = "check" if self.streak == 1 else "checks"
        return self._become("up", f"{self.streak} {checks} passed")

    def _become(self, health: str, why: str, *, is_told: bool = True) -> Change:
        self.health = health
        self.streak = 0
        return Change(health, why, is_told)


def first_health(rules: "Health | None", *, has_place: bool) -> str:
    """Say what the health of an endpoint is that nobody has looked at yet.

    has_place  whether it is known where it is: its name resolved
    """
    if not has_place:
        return "down"
    if rules is not None and rules.initial == "down":
        return "waiting"
    return "unchecked"


def taken_over(rules: "Health | None", found: str, *, has_place: bool) -> str:
    """Say what the health is that a steward goes on from.

    found  what its predecessor, or the master at the start, left in the slot
    Where nothing is checked any more, what checks said counts no more either.
    """
    if rules is None or not has_place:
        return first_health(rules, has_place=has_place)
    return found if found in _WORDS else "down"


def offset_s(rules: "Health", number: int) -> float:
    """Give the delay of the first check of the endpoint that is `number` of many.

    The multiples of the golden ratio spread evenly, however many there will be.
    """
    return math.modf(number * (math.sqrt(5) - 1) / 2)[0] * rules.interval / 1000
