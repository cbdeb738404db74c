"""Retries between sides that are fakes: statuses, pauses, one try's time, held bodies.

Every test ends with all of them settled: see conftest.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fakes import COUNTED, GET, POST, PUT

MakeGate = Callable[..., Any]

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n"
BARE_POST = b"POST /a HTTP/1.1\r\nHost: test\r\n\r\n"


def retrying(**retry: Any) -> dict[str, Any]:
    """An upstream's keys; by default it retries on a 503 twice."""
    return {"retry": {"on": ["connect", "reset", 503], "tries": 2} | retry}


def ask(gate: Any, head: bytes = GET) -> tuple[Any, Any]:
    client = gate.client()
    client.ask(head)
    return client, gate.origins[-1]


def answer(origin: Any, head: bytes = COUNTED) -> None:
    """A small answer, whole."""
    origin.answer(head)
    origin.body(b"ok")
    origin.end()


def opened(gate: Any) -> list[int]:
    return [int(one[5:]) for one in gate.asked if one.startswith("open")]


# A status that is listed.


def test_a_listed_status_is_dropped_and_another_endpoint_asked(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2, upstream=retrying())
    client, first = ask(gate)
    first.answer(BUSY)
    assert (client.heard, first.heard) == ([], ["head", "end", "reset"])

    answer(gate.origins[-1])
    assert client.heard == ["head 200 counted 2", "body ok", "end", "done"]
    assert sorted(opened(gate)) == [0, 1]
    assert (gate.row["retries"], gate.row["faults"]) == (1, 0)


def test_a_status_that_is_not_listed_passes(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying())
    client, origin = ask(gate)
    answer(origin, BUSY.replace(b"503", b"502"))

    assert client.heard[0] == "head 502 counted 2"
    assert gate.row["retries"] == 0


@pytest.mark.parametrize(
    ("endpoints", "keys", "head"),
    [
        (1, retrying(), GET),
        (2, retrying(tries=0), GET),
        (2, retrying(budget="0%"), GET),
        (2, retrying(), BARE_POST),
        (2, retrying(methods="all"), BARE_POST),
    ],
    ids=["nobody else", "no tries", "no budget", "POST", "POST, answered"],
)
def test_where_nobody_else_may_be_asked_the_answer_itself_is_given(
    make_gate: MakeGate, endpoints: int, keys: dict[str, Any], head: bytes
) -> None:
    gate = make_gate(endpoints, upstream=keys)
    client, origin = ask(gate, head)
    answer(origin, BUSY)

    assert client.heard == ["head 503 counted 2", "body ok", "end", "done"]
    assert origin.heard == ["head", "end", "release"]
    assert len(opened(gate)) == 1
    assert (gate.row["retries"], gate.row["faults"]) == (0, 0)


def test_the_last_answer_is_given_when_all_have_failed(make_gate: MakeGate) -> None:
    gate = make_gate(4, upstream=retrying())
    client, _ = ask(gate)
    for _ in range(3):
        gate.origins[-1].answer(BUSY)
    gate.origins[-1].body(b"ok")
    gate.origins[-1].end()

    assert client.heard == ["head 503 counted 2", "body ok", "end", "done"]
    assert len(set(opened(gate))) == 3
    assert gate.row["retries"] == 2


def test_an_answer_is_not_given_up_for_an_ejected_endpoint(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying() | {"eject": "1/10s"})
    ask(gate)[1].answer(BUSY)
    answer(gate.origins[-1])
    client, origin = ask(gate)
    answer(origin, BUSY)

    assert client.heard[0] == "head 503 counted 2"
    assert gate.row["retries"] == 1


def test_a_listed_status_ejects_whether_it_is_made_good_or_not(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2, upstream=retrying() | {"eject": "2/10s"})
    bad = ask(gate, BARE_POST)[1]
    answer(bad, BUSY)
    while opened(gate).count(bad.endpoint) < 2:
        client, origin = ask(gate)
        if origin.endpoint == bad.endpoint:
            origin.answer(BUSY)
            origin = gate.origins[-1]
        answer(origin)
        assert client.heard[0] == "head 200 counted 2"
    for _ in range(4):
        answer(ask(gate)[1])

    assert opened(gate).count(bad.endpoint) == 2


def test_a_log_line_has_the_endpoint_that_answered_and_the_retries(
    make_gate: MakeGate, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT)
    gate = make_gate(2, log_fd=fd, upstream=retrying(), access_log_format="json")
    ask(gate)[1].answer(BUSY)
    gate.turn_clock(70)
    answer(gate.origins[-1])
    gate.lines()

    line = json.loads(log.read_text())
    assert (line["status"], line["reason"], line["retries"]) == (200, None, 1)
    assert line["endpoint"] == f"192.0.2.{10 + opened(gate)[1]}:80"


# Whatever else is listed.


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("timeout", "upstream-timeout"),
        ("bad", "upstream-bad-response"),
        ("bad", "upstream-header-too-large"),
    ],
)
def test_what_is_listed_is_asked_for_elsewhere_and_else_is_not(
    make_gate: MakeGate, cause: str, reason: str
) -> None:
    listed = make_gate(2, upstream=retrying(on=[cause]))
    ask(listed)[1].fail(reason)
    answer(listed.origins[-1])
    assert listed.row == {"requests": 1, "retries": 1, "faults": 0, "ends": 1}

    other = make_gate(2, upstream=retrying())
    ask(other)[1].fail(reason)
    assert other.row == {"requests": 1, "retries": 0, "faults": 1, "ends": 1}


def test_without_connect_in_the_list_a_refusal_is_the_answer(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2, upstream=retrying(on=["reset"]))
    gate.opens = ["upstream-connect"]
    client = gate.client()
    client.ask(GET)

    assert client.heard == ["reply 503 upstream refused the connection", "done"]


def test_a_post_is_sent_again_if_all_methods_are_and_nothing_came(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2, upstream=retrying(methods="all"))
    client, first = ask(gate, BARE_POST)
    first.fail("upstream-reset")
    answer(gate.origins[-1])

    assert client.heard[0] == "head 200 counted 2"
    assert gate.row["retries"] == 1


def test_a_post_of_whose_answer_a_byte_came_is_not_sent_again(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2, upstream=retrying(methods="all"))
    client, first = ask(gate, BARE_POST)
    client.is_corked = True
    first.answer(COUNTED)
    first.fail("upstream-cut")

    assert client.heard[-2:] == ["reply 502 upstream ended its answer early", "done"]
    assert len(opened(gate)) == 1


# Bodies that are held.


@pytest.mark.parametrize("head", [PUT, POST])
def test_a_body_that_is_held_goes_again(make_gate: MakeGate, head: bytes) -> None:
    gate = make_gate(3, upstream=retrying(methods="all") | {"buffer_request": "1k"})
    client = gate.client()
    client.ask(head)
    client.body(b"abcdef")
    client.end()
    for _ in range(2):
        gate.origins[-1].fail("upstream-reset")
    answer(gate.origins[-1])

    assert [one.heard[:3] for one in gate.origins] == [
        ["head", "body abcdef", "end"]
    ] * 3
    assert client.heard[-1] == "done"
    assert gate.row["retries"] == 2


def test_a_held_body_of_what_may_not_go_again_is_sent_once(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2, upstream=retrying() | {"buffer_request": "1k"})
    client = gate.client()
    client.ask(POST)
    client.body(b"abc")
    client.end()
    gate.origins[-1].fail("upstream-reset")

    assert client.heard == ["reply 502 upstream closed the connection", "done"]


def test_a_body_that_has_streamed_does_not_go_again(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying() | {"buffer_request": 4})
    client = gate.client()
    client.ask(PUT)
    client.body(b"abcd")
    client.body(b"ef")
    client.end()
    answer(gate.origins[-1], BUSY)

    assert client.heard[0] == "head 503 counted 2"


def test_a_held_body_is_let_go_when_the_answer_begins(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying() | {"buffer_request": "1k"})
    client = gate.client()
    client.ask(PUT)
    client.body(b"abcdef")
    client.end()
    client.is_corked = True
    gate.origins[-1].answer(COUNTED)
    gate.origins[-1].fail("upstream-cut")

    assert client.heard[-1] == "done"
    assert len(opened(gate)) == 1


# Pauses.


def test_a_retry_waits_and_holds_no_lease(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(backoff="10s"))
    client, first = ask(gate)
    first.fail("upstream-reset")

    assert (client.step, gate.leases) == ("backoff", [0, 0])
    gate.turn_clock(10_050)
    assert client.step == "forward"
    answer(gate.origins[-1])
    assert gate.row["retries"] == 1


def test_a_refused_connect_waits_too(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(backoff="10s"))
    gate.opens = ["upstream-connect"]
    client = gate.client()
    client.ask(GET)

    assert (client.step, len(opened(gate))) == ("backoff", 1)
    gate.turn_clock(10_050)
    answer(gate.origins[-1])


def test_a_body_is_not_read_while_its_request_waits(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(backoff="10s"))
    client, first = ask(gate, PUT)
    first.fail("upstream-reset")
    assert (client.step, client.may_send) == ("backoff", False)
    gate.turn_clock(10_050)

    assert (client.step, client.may_send) == ("forward", True)
    client.body(b"abcdef")
    client.end()
    answer(gate.origins[-1])


def test_nobody_waits_for_an_endpoint_that_is_not_there(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate(1, upstream=retrying(backoff="10s")))
    origin.fail("upstream-reset")

    assert client.heard == ["reply 502 upstream closed the connection", "done"]


def test_nobody_waits_for_a_budget_that_has_nothing_left(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(backoff="10s", budget="0%"))
    client, origin = ask(gate)
    origin.fail("upstream-reset")

    assert client.heard == ["reply 502 upstream closed the connection", "done"]


def test_a_replay_does_not_wait(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(backoff="10s"))
    gate.opens = ["pooled"]
    client, stale = ask(gate)
    stale.fail("upstream-reset")

    assert client.step == "forward"
    answer(gate.origins[-1])


@pytest.mark.parametrize("reason", ["client-abort", "deadline"])
def test_who_leaves_while_waiting_leaves_nothing_behind(
    make_gate: MakeGate, reason: str
) -> None:
    gate = make_gate(2, upstream=retrying(backoff="10s"))
    client, origin = ask(gate)
    origin.fail("upstream-reset")
    client.fail(reason)

    last = "cut" if reason == "client-abort" else "done"
    assert (client.heard[-1], client.step) == (last, None)
    gate.turn_clock(20_000)
    assert len(opened(gate)) == 1
    assert gate.row["retries"] == 0


def test_who_waits_while_the_worker_drains_goes_on_at_once(make_gate: MakeGate) -> None:
    gate = make_gate(3, upstream=retrying(backoff="10s"))
    client, first = ask(gate)
    first.fail("upstream-reset")
    assert client.step == "backoff"
    gate.drain()
    gate.turn_clock(16)
    assert client.step == "forward"

    gate.origins[-1].fail("upstream-reset")
    assert client.step == "forward"
    answer(gate.origins[-1])


def test_who_waits_while_the_worker_ends_is_answered(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(backoff="10s"))
    client, origin = ask(gate)
    origin.fail("upstream-reset")
    gate.close()

    assert client.heard == ["reply 503 shutting down", "done"]


# The time of one try.


@pytest.mark.parametrize(
    ("opens", "step", "reply"),
    [
        ("ready", "forward", "reply 504 upstream took too long"),
        ("waits", "connect", "reply 503 upstream could not be reached in time"),
    ],
)
def test_a_try_that_takes_too_long_ends_as_its_step_does(
    make_gate: MakeGate, opens: str, step: str, reply: str
) -> None:
    gate = make_gate(1, upstream=retrying(per_try="2s"))
    gate.opens = [opens]
    client, origin = ask(gate)
    gate.turn_clock(1_900)
    assert client.step == step
    gate.turn_clock(150)

    assert client.heard == [reply, "done"]
    assert origin.heard[-1] == "reset"


def test_each_try_has_its_own_time(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(on=["timeout"], per_try="2s"))
    client, _ = ask(gate)
    gate.turn_clock(2_050)
    assert (client.step, len(opened(gate))) == ("forward", 2)
    gate.turn_clock(1_900)
    answer(gate.origins[-1])

    assert client.heard[0] == "head 200 counted 2"


def test_an_answer_that_has_begun_has_no_such_time(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream=retrying(on=["timeout"], per_try="2s"))
    client, origin = ask(gate)
    origin.answer(COUNTED)
    gate.turn_clock(10_000)
    assert client.step == "relay"
    origin.body(b"ok")
    origin.end()


def test_the_time_of_a_try_counts_from_the_end_of_what_streams(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(1, upstream=retrying(per_try="2s"))
    client, _ = ask(gate, PUT)
    for _ in range(3):
        gate.turn_clock(1_500)
        client.body(b"ab")
    client.end()
    gate.turn_clock(1_900)
    assert client.step == "forward"
    gate.turn_clock(150)

    assert client.heard[-2:] == ["reply 504 upstream took too long", "done"]
