"""The timer wheel."""

from __future__ import annotations

import select
import time

import wheel_probe as probe
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

TICK_MS: int = probe.TICK_MS
TURN_MS: int = probe.TURN_MS
LATE_MS = 2 * TICK_MS


class AgainstModel(RuleBasedStateMachine):
    """The wheel, woken when its timerfd would wake it, and a dictionary."""

    N = 8

    @initialize(start_ms=st.integers(0, 1 << 41))
    def start(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self.wheel = probe.WheelProbe(self.N, start_ms)
        self.due: dict[int, int] = {}

    def serve(self) -> None:
        fired = self.wheel.serve(self.now_ms)
        assert len(fired) == len(set(fired))
        for number in fired:
            assert number in self.due, "not armed"
            assert self.due.pop(number) <= self.now_ms, "early"

    @rule(
        number=st.integers(0, N - 1),
        after_ms=st.one_of(
            st.integers(-100, 200), st.integers(0, 3 * TURN_MS), st.just(TURN_MS)
        ),
    )
    def set(self, number: int, after_ms: int) -> None:
        deadline = max(1, self.now_ms + after_ms)
        self.wheel.set(number, deadline)
        self.due[number] = deadline

    @rule(number=st.integers(0, N - 1))
    def idle(self, number: int) -> None:
        self.wheel.idle(number)
        self.due.pop(number, None)

    @rule(number=st.integers(0, N - 1))
    def cancel(self, number: int) -> None:
        self.wheel.cancel(number)
        self.due.pop(number, None)

    @rule(for_ms=st.one_of(st.integers(0, 100), st.integers(0, 2 * TURN_MS)))
    def sleep(self, for_ms: int) -> None:
        """Time passes, and every wake-up is served when it comes."""
        until = self.now_ms + for_ms
        while 0 < (wake := self.wheel.armed_ms) <= until:
            self.now_ms = max(self.now_ms, wake)
            self.serve()
            late = {n: self.now_ms - d for n, d in self.due.items()}
            assert all(ms <= LATE_MS for ms in late.values()), late
        self.now_ms = until

    @rule(for_ms=st.integers(TURN_MS, 5 * TURN_MS))
    def suspend(self, for_ms: int) -> None:
        """The machine is off, and wakes with everything due at once."""
        self.now_ms += for_ms
        self.serve()
        assert all(d > self.now_ms - LATE_MS for d in self.due.values()), "late"

    @precondition(lambda self: self.due)
    @rule()
    def kick(self) -> None:
        self.wheel.kick(max(1, self.now_ms))
        self.serve()

    @invariant()
    def the_timerfd_will_go_off_in_time(self) -> None:
        if getattr(self, "due", None):
            assert (
                0
                < self.wheel.armed_ms
                <= max(min(self.due.values()), self.now_ms) + LATE_MS
            )


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)


def test_a_deadline_that_moves_later_costs_no_new_link() -> None:
    wheel = probe.WheelProbe(1, 1_000_000)
    wheel.set(0, 1_000_100)
    armed = wheel.armed_ms
    wheel.set(0, 1_060_000)

    assert wheel.armed_ms == armed
    assert wheel.serve(armed) == []
    assert wheel.armed_ms > 1_060_000 - TICK_MS


def test_a_wheel_with_nothing_on_it_is_never_woken() -> None:
    wheel = probe.WheelProbe(1, 1_000_000)
    wheel.set(0, 1_000_100)
    wheel.cancel(0)

    assert wheel.serve(wheel.armed_ms) == []
    assert wheel.armed_ms == 0


def test_the_timerfd_is_readable_when_a_timer_is_due() -> None:
    now_ms = time.monotonic_ns() // 1_000_000
    wheel = probe.WheelProbe(1, now_ms)
    wheel.set(0, now_ms + 30)

    ready, _, _ = select.select([wheel.fd], [], [], 5)

    assert ready
    assert wheel.serve(time.monotonic_ns() // 1_000_000) == [0]


def test_a_kicked_wheel_is_readable_at_once() -> None:
    now_ms = time.monotonic_ns() // 1_000_000
    wheel = probe.WheelProbe(1, now_ms)
    wheel.set(0, now_ms + 60_000)
    wheel.kick(now_ms)

    assert select.select([wheel.fd], [], [], 0)[0]
