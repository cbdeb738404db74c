"""The round of checks, over endpoints that answer when they are told to."""

import pytest

from fastgate.config.model import Health
from fastgate.control import prober as module
from fastgate.control.events import Events
from fastgate.control.prober import Prober
from fastgate.control.probes import Outcome

RULES = Health(path="/", interval="2s", timeout="1s", fall=2, jitter=0)


class World:
    """The loop, the clock, the shared memory and the log of a steward."""

    def __init__(self):
        self.now_s = 100.0
        self.timers = []
        self.healths = {}
        self.lines = []
        self.probes = {}

    def monotonic(self):
        return self.now_s

    def time(self):
        return 0.0

    def call_later(self, wait_s, call):
        timer = Timer(self.now_s + wait_s, call)
        self.timers.append(timer)
        return timer

    def endpoint(self, index):
        return {"health": self.healths.get(index, "unchecked")}

    def set_health(self, index, health):
        self.healths[index] = health

    def warning(self, line):
        self.lines.append(line)

    alert = warning

    def pass_s(self, seconds):
        """Let time pass, and everything due on its way happen."""
        end_s = self.now_s + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer.is_off]
            due = min(self.timers, key=lambda timer: timer.at_s, default=None)
            if due is None or due.at_s > end_s:
                self.now_s = end_s
                return
            self.now_s = max(self.now_s, due.at_s)
            self.timers.remove(due)
            due.call()


class Timer:
    def __init__(self, at_s, call):
        self.at_s, self.call, self.is_off = at_s, call, False

    def cancel(self):
        self.is_off = True


class Probe:
    """An endpoint; `answer` says how its checks end, None: they wait."""

    def __init__(self, world, place):
        self.begun_s, self.done, self.answer = [], None, Outcome()
        self.is_closed = False
        self.world = world
        world.probes[place.port] = self

    def begin(self, done):
        self.begun_s.append(self.world.now_s)
        self.done = done
        if self.answer is not None:
            self.end(self.answer)

    def end(self, outcome):
        done, self.done = self.done, None
        done(outcome)

    def expire(self):
        self.end(Outcome("late"))

    def close(self):
        self.is_closed = True


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(
        module, "make_probe", lambda _loop, place, _rules: Probe(made, place)
    )
    made.prober = Prober(made, made, Events(made), made)
    return made


def upstream(*indexes, rules=RULES, host="10.0.0.1"):
    endpoints = [
        {
            "address": f"10.0.0.1:{index}",
            "index": index,
            "family": "inet",
            "host": host,
            "port": index,
            "scope": 0,
        }
        for index in indexes
    ]
    return {"name": "users", "health": rules, "endpoints": endpoints}


def test_every_endpoint_is_checked_each_interval(world):
    world.prober.sync([upstream(3, 70)])  # not side by side in shared memory
    world.pass_s(10)

    for probe in world.probes.values():
        # The second one is fast no more: the first has decided.
        assert 4 <= len(probe.begun_s) <= 6
    assert world.healths == {3: "up", 70: "up"}
    assert world.lines == []


def test_checks_go_on_where_an_endpoint_stays_and_end_where_it_goes(world):
    world.prober.sync([upstream(1, 2)])
    world.pass_s(3)
    first, second = world.probes[1], world.probes[2]
    world.prober.sync([upstream(1)])
    before = len(first.begun_s), len(second.begun_s)
    world.pass_s(4)

    assert world.probes[1] is first
    assert len(first.begun_s) > before[0]
    assert len(second.begun_s) == before[1]
    assert second.is_closed
    assert world.prober.describe("users", 2) is None


def test_an_endpoint_that_goes_under_a_check_is_not_written_any_more(world):
    world.prober.sync([upstream(1, 2)])
    world.pass_s(3)
    probe = world.probes[2]
    probe.answer = None
    world.pass_s(3)
    assert probe.done is not None
    world.healths[2] = "anything"
    world.prober.sync([upstream(1)])
    world.pass_s(10)

    assert world.healths[2] == "anything"


def test_other_rules_make_another_check_that_goes_on_from_the_slot(world):
    world.prober.sync([upstream(1)])
    world.pass_s(1)
    world.healths[1] = "down"
    before = world.probes[1]
    world.prober.sync([upstream(1, rules=Health(path="/other"))])

    assert before.is_closed
    assert world.probes[1] is not before
    assert world.healths[1] == "down"


def test_an_endpoint_without_a_place_is_down_and_not_asked(world):
    world.prober.sync([upstream(1, host=None)])
    world.pass_s(10)

    assert world.healths == {1: "down"}
    assert world.probes == {}


def test_what_takes_longer_than_the_timeout_has_failed(world):
    world.prober.sync([upstream(1)])
    world.pass_s(1)
    world.probes[1].answer = None
    world.pass_s(6)

    assert world.healths[1] == "down"
    assert "is down: health check: late, 2 in a row; 0 of 1" in world.lines[0]


def test_time_in_which_the_steward_did_not_run_is_no_timeout(world):
    world.prober.sync([upstream(1)])
    world.pass_s(1)
    world.probes[1].answer = None
    world.pass_s(1.1)
    assert world.probes[1].done is not None
    world.now_s += 3600  # as after a suspended machine: timers fire late
    world.pass_s(0.1)

    assert world.probes[1].done is not None
    world.probes[1].end(Outcome())
    assert world.prober.describe("users", 1)["failed"] == 0


def test_only_so_many_checks_are_under_way(world, monkeypatch):
    monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    world.prober.sync([upstream(*range(1, 6))])
    for probe in world.probes.values():
        probe.answer = None
    world.pass_s(0.9)
    assert sum(probe.done is not None for probe in world.probes.values()) <= 2

    for _ in range(20):
        for probe in world.probes.values():
            if probe.done is not None:
                probe.end(Outcome())
        world.pass_s(0.5)
    assert all(probe.begun_s for probe in world.probes.values())


def test_what_the_gateway_lacks_says_nothing_about_an_endpoint(world):
    world.prober.sync([upstream(1)])
    world.pass_s(1)
    world.probes[1].answer = Outcome("too many open files", is_ours=True)
    world.pass_s(30)

    assert world.healths[1] == "up"
    assert world.lines == ["endpoints cannot be checked: too many open files"]
    world.probes[1].answer = Outcome()
    world.pass_s(30)
    assert world.lines[1:] == ["endpoints can be checked again"]


def test_nothing_is_asked_after_the_end(world):
    world.prober.sync([upstream(1)])
    world.pass_s(1)
    world.prober.close()
    before = len(world.probes[1].begun_s)
    world.pass_s(10)

    assert len(world.probes[1].begun_s) == before
    assert world.probes[1].is_closed
