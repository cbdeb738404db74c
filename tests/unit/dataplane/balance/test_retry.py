"""Whether a request is sent to another endpoint, when, and who pays for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product

import attempt_probe
import pytest
from support.addresses import reset
from support.lab import Lab, is_readable
from support.regions import region_of

from fastgate._core import FAULTS

# What follows on a try that failed: the rules as exchange/again.pyx has them.


@dataclass(frozen=True)
class Try:
    """What is known when a try has failed."""

    retries: int = 0
    most_retries: int = 2
    replayed: bool = False
    over: bool = False
    repeatable: bool = True
    stale: bool = False
    on: tuple[str, ...] = ("connect", "reset")


ON = [
    (),
    ("connect", "reset"),
    ("timeout", "bad", "status"),
    ("connect", "reset", "timeout", "bad", "status"),
]
TRIES = [
    Try(retries, 2, *flags, on)
    for on, retries, *flags in product(ON, range(4), *[[False, True]] * 4)
]
CAUSES = {
    "upstream-connect": "connect",
    "upstream-connect-timeout": "connect",
    "upstream-busy": "connect",
    "local-connect": "connect",
    "upstream-reset": "reset",
    "upstream-cut": "reset",
    "upstream-timeout": "timeout",
    "upstream-bad-response": "bad",
    "upstream-header-too-large": "bad",
    "upstream-status": "status",
}


def sequel(reason: str, failed: Try) -> str:
    """The rule that holds."""
    cause = CAUSES.get(reason)
    if failed.over or cause is None:
        return "no more"
    if cause != "connect" and not failed.repeatable:
        return "no more"
    if reason == "upstream-reset" and failed.stale and not failed.replayed:
        return "replay"
    if cause not in failed.on:
        return "no more"
    return "retry" if failed.retries < failed.most_retries else "no more"


@pytest.mark.parametrize("reason", FAULTS)
def test_a_request_is_sent_again_as_the_rules_say(reason: str) -> None:
    for failed in TRIES:
        assert attempt_probe.again(reason, **asdict(failed)) == sequel(reason, failed)


def test_a_replay_needs_no_retry_to_be_allowed() -> None:
    failed = Try(most_retries=0, stale=True, on=())

    assert attempt_probe.again("upstream-reset", **asdict(failed)) == "replay"


# The pause before it.


def test_a_pause_is_any_time_up_to_a_bound_that_doubles_to_32_times() -> None:
    for retries, most in enumerate([25, 50, 100, 200, 400, 800, 800, 800]):
        waits = {attempt_probe.backoff_ms(25, retries, draw) for draw in range(2_000)}
        assert (min(waits), max(waits), len(waits)) == (0, most, most + 1)


def test_a_pause_does_not_outlast_the_deadline() -> None:
    waits = {attempt_probe.backoff_ms(100, 3, draw, 30) for draw in range(1_000)}

    assert (min(waits), max(waits)) == (0, 30)
    assert attempt_probe.backoff_ms(100, 3, 2**64 - 1, 0) == 0


# Who pays.


def test_a_retry_is_counted_when_the_budget_pays() -> None:
    upstream = attempt_probe.Upstream(region_of(1, 1))
    broke = attempt_probe.Upstream(region_of(1, 1), retry_budget_percent=0)

    assert upstream.charge_retry(0)
    assert upstream.retries(0) == (1, 1)
    assert not broke.charge_retry(0)
    assert broke.retries(0) == (0, 0)


def test_what_is_paid_ahead_is_paid_once_and_counted_when_it_is_made() -> None:
    upstream = attempt_probe.Upstream(region_of(1, 1))
    upstream.turn_clock(10_000)
    for number in range(10):
        assert upstream.pay_retry(number % 5)
        assert upstream.pay_retry(number % 5)
        assert upstream.retries(number % 5)[0] == number // 5
        assert upstream.charge_retry(number % 5)

    assert not upstream.pay_retry(5)
    assert not upstream.charge_retry(5)
    assert upstream.retries(0) == (2, 10)


def test_a_post_that_may_be_retried_is_not_replayed_where_resets_are_not_listed(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(upstream={"retry": {"methods": "all", "on": ["connect"]}})
    client = lab.client()
    service = lab.serve(client)
    client.sendall(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
    lab.read(service, b"\r\n\r\n")
    reset(service)

    assert b" 502 " in lab.read(client, b"\n")
    assert not is_readable(lab.services[0])
