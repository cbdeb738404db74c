"""One exchange between two sides that are fakes: what each of them is asked for.

Every test ends with all of them settled: see conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import exchange_probe
import pytest
from support.fakes import (
    CHUNKED,
    COUNTED,
    EMPTY,
    GET,
    HEAD,
    HERE,
    HINTS,
    OLD,
    POST,
    PUT,
    RESPOND,
    Chance,
)
from support.lab import SWITCHED, UPGRADE

MakeGate = Callable[..., Any]

FULL = 64 << 10  # bytes, of buffer_response


def ask(gate: Any, head: bytes = GET) -> tuple[Any, Any]:
    """A client that has asked, and the origin that has its request."""
    client = gate.client()
    client.ask(head)
    return client, gate.origins[-1]


def answer(origin: Any) -> None:
    """A small answer, whole."""
    origin.answer(COUNTED)
    origin.body(b"ok")
    origin.end()


def tunnel(gate: Any) -> tuple[Any, Any]:
    """A client and an origin with a tunnel between them."""
    client, origin = ask(gate, UPGRADE)
    origin.answer(SWITCHED)
    assert client.heard == ["head 101 tunnel", "tunnel"]
    assert origin.heard == ["head", "end", "tunnel"]
    client.heard.clear()
    origin.heard.clear()
    return client, origin


def opened(gate: Any) -> list[int]:
    """The endpoints that were asked, in order."""
    return [int(one[5:]) for one in gate.asked if one.startswith("open")]


# The plain way.


def test_a_request_goes_up_and_its_answer_comes_down(make_gate: MakeGate) -> None:
    gate = make_gate()
    client, origin = ask(gate)

    assert gate.asked == ["pack GET /a HTTP/1.1", "open 0"]
    assert origin.heard == ["head", "end"]
    assert (client.step, gate.leases) == ("forward", [1])
    answer(origin)

    assert client.heard == ["head 200 counted 2", "body ok", "end", "done"]
    assert origin.heard == ["head", "end", "release"]
    assert gate.row == {"requests": 1, "retries": 0, "faults": 0, "ends": 1}
    assert not client.closes


def test_a_body_streams_to_an_origin_that_is_ready(make_gate: MakeGate) -> None:
    gate = make_gate()
    client, origin = ask(gate, POST)
    client.body(b"abc")
    client.body(b"def")
    client.end()

    assert origin.heard == ["head", "body abc", "body def", "end"]
    answer(origin)
    assert not client.closes


def test_a_body_is_not_read_before_its_origin_is_connected(
    make_gate: MakeGate,
) -> None:
    gate = make_gate()
    gate.opens = ["waits"]
    client, origin = ask(gate, PUT)

    assert (client.step, client.may_send, origin.heard) == ("connect", False, [])
    origin.ready()
    assert (client.step, client.may_send) == ("forward", True)
    assert (client.heard, origin.heard) == (["resume"], ["head"])
    client.body(b"abcdef")
    client.end()
    answer(origin)


def test_a_gathered_body_is_whole_before_an_endpoint_is_asked(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(upstream={"buffer_request": "1k"})
    client = gate.client()
    client.ask(PUT)
    client.body(b"abc")
    client.body(b"def")
    assert (client.step, opened(gate), gate.leases) == ("gather", [], [0])
    client.end()

    (origin,) = gate.origins
    assert origin.heard == ["head", "body abcdef", "end"]
    answer(origin)


def test_what_is_more_than_is_gathered_streams(make_gate: MakeGate) -> None:
    gate = make_gate(upstream={"buffer_request": 4})
    client = gate.client()
    client.ask(PUT)
    client.body(b"abcd")
    (origin,) = gate.origins
    client.body(b"ef")
    client.end()

    assert origin.heard == ["head", "body abcd", "body ef", "end"]
    answer(origin)


def test_who_waits_for_a_100_is_not_gathered(make_gate: MakeGate) -> None:
    gate = make_gate(upstream={"buffer_request": "1k"})
    _, origin = ask(gate, PUT.replace(b"Host", b"Expect: 100-continue\r\nHost"))

    assert origin.heard == ["head"]
    origin.answer(EMPTY)
    origin.end()


@pytest.mark.parametrize(
    ("request_head", "answer_head", "expected"),
    [
        (GET, COUNTED, "head 200 counted 2"),
        (GET, CHUNKED, "head 200 chunked"),
        (GET, b"HTTP/1.1 200 OK\r\n\r\n", "head 200 chunked"),
        (GET, EMPTY, "head 204 bodiless"),
        (HEAD, COUNTED, "head 200 bodiless"),
        (OLD, COUNTED, "head 200 counted 2 close"),
        (OLD, CHUNKED, "head 200 close"),
        (PUT, COUNTED, "head 200 counted 2 close"),
    ],
)
def test_an_answer_is_framed_for_who_asked(
    make_gate: MakeGate, request_head: bytes, answer_head: bytes, expected: str
) -> None:
    client, origin = ask(make_gate(), request_head)
    origin.answer(answer_head)

    assert client.heard == [expected]
    assert client.closes == expected.endswith("close")
    origin.end()


def test_interim_answers_pass_ahead_of_the_final_one(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate())
    origin.answer(HINTS)
    origin.answer(HINTS)
    assert client.step == "forward"
    origin.answer(EMPTY)
    origin.end()

    assert client.heard == [
        "head 103 bodiless", "head 103 bodiless", "head 204 bodiless", "end", "done",
    ]  # fmt: skip


def test_an_http_1_0_client_is_given_no_interim_answer(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate(), OLD)
    origin.answer(HINTS)
    assert client.heard == []
    answer(origin)


def test_interim_answers_without_end_are_no_answer(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate())
    for _ in range(101):
        origin.answer(HINTS)

    assert client.heard[-2:] == ["reply 502 invalid upstream response", "done"]
    assert origin.heard[-1] == "reset"


# What never reaches an endpoint.


@pytest.mark.parametrize("is_slow", [False, True])
def test_what_is_answered_from_memory_asks_nobody(
    make_gate: MakeGate, is_slow: bool
) -> None:
    gate = make_gate(routes=[RESPOND])
    gate.is_slow = is_slow
    client = gate.client()
    client.ask(HERE)

    assert client.heard[:3] == ["head 200 counted 2", "body ok", "end"]
    assert (gate.asked, gate.leases) == ([], [0])
    if is_slow:
        client.take()
    assert client.heard[3:] == ["done"]


def test_a_head_that_breaks_a_rule_is_answered_and_its_connection_ends(
    make_gate: MakeGate,
) -> None:
    gate = make_gate()
    client = gate.client()
    client.ask(b"GET /a HTTP/1.1\r\n\r\n")

    assert client.heard == ["reply 400 missing or invalid Host", "done"]
    assert client.closes
    assert gate.asked == []
    assert gate.row == {"requests": 1, "retries": 0, "faults": 1, "ends": 1}


def test_a_request_without_a_route_is_answered_and_its_connection_kept(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(path="/b")
    client = gate.client()
    client.ask(GET)

    assert client.heard == ["reply 404 no route for this request", "done"]
    assert not client.closes


def test_what_cannot_be_packed_is_answered(make_gate: MakeGate) -> None:
    gate = make_gate()
    gate.pack_fault = "loop"
    client = gate.client()
    client.ask(GET)

    assert client.heard[0].startswith("reply 508 loop")
    assert opened(gate) == []


def test_a_body_that_grows_too_large_ends_the_exchange(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate(max_body=4), POST)
    client.body(b"abc")
    client.body(b"de")

    assert client.heard == ["reply 413 body too large", "done"]
    assert origin.heard == ["head", "body abc", "reset"]
    assert client.closes


# Again.


def test_a_connect_fault_leads_to_another_endpoint_and_is_counted(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2)
    gate.opens = ["upstream-connect"]
    client, origin = ask(gate, POST)

    assert sorted(opened(gate)) == [0, 1]
    assert gate.row["retries"] == 1
    client.end()
    answer(origin)
    assert gate.row["faults"] == 0


def test_one_that_waited_to_connect_is_tried_elsewhere_too(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2)
    gate.opens = ["waits"]
    _, first = ask(gate)
    first.fail("upstream-connect-timeout")

    assert first.heard == ["reset"]
    assert sorted(opened(gate)) == [0, 1]
    answer(gate.origins[-1])


def test_where_no_other_endpoint_is_left_the_first_fault_is_the_answer(
    make_gate: MakeGate,
) -> None:
    gate = make_gate()
    gate.opens = ["upstream-connect"]
    client = gate.client()
    client.ask(GET)

    assert client.heard == ["reply 503 upstream refused the connection", "done"]
    assert gate.row["retries"] == 0


def test_no_more_retries_are_made_than_the_upstream_allows(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(4, upstream={"retries": 2})
    gate.opens = ["upstream-connect"] * 4
    client = gate.client()
    client.ask(GET)

    assert len(set(opened(gate))) == 3
    assert gate.row["retries"] == 2
    assert client.heard[-1] == "done"


def test_without_a_budget_there_is_no_retry(make_gate: MakeGate) -> None:
    gate = make_gate(2, upstream={"retry_budget": "0%"})
    gate.opens = ["upstream-connect"]
    client = gate.client()
    client.ask(GET)

    assert client.heard == ["reply 503 upstream refused the connection", "done"]
    assert len(opened(gate)) == 1


def test_a_stale_pooled_connection_is_replayed_once_and_not_counted(
    make_gate: MakeGate,
) -> None:
    gate = make_gate()
    gate.opens = ["pooled"]
    client, stale = ask(gate)
    stale.fail("upstream-reset")
    fresh = gate.origins[-1]

    assert opened(gate) == [0, 0]
    assert gate.row["retries"] == 0
    fresh.fail("upstream-reset")
    assert client.heard == ["reply 502 upstream closed the connection", "done"]
    assert opened(gate) == [0, 0]


def test_a_new_connection_that_ends_early_is_no_stale_one(make_gate: MakeGate) -> None:
    gate = make_gate()
    client, origin = ask(gate)
    origin.fail("upstream-reset")

    assert client.heard == ["reply 502 upstream closed the connection", "done"]
    assert opened(gate) == [0]


@pytest.mark.parametrize("endpoints", [1, 2])
def test_a_request_that_is_not_idempotent_is_not_sent_again(
    make_gate: MakeGate, endpoints: int
) -> None:
    gate = make_gate(endpoints)
    gate.opens = ["pooled"]
    client, origin = ask(gate, b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n")
    origin.fail("upstream-reset")

    assert client.heard == ["reply 502 upstream closed the connection", "done"]
    assert len(opened(gate)) == 1


def test_a_body_byte_that_was_sent_forbids_a_retry(make_gate: MakeGate) -> None:
    gate = make_gate(2)
    client, origin = ask(gate, PUT)
    client.body(b"a")
    origin.fail("upstream-reset")

    assert client.heard == ["reply 502 upstream closed the connection", "done"]
    assert len(opened(gate)) == 1
    assert client.closes


def test_a_body_of_which_nothing_was_sent_goes_to_the_next_endpoint(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2)
    client, first = ask(gate, PUT)
    first.fail("upstream-reset")
    second = gate.origins[-1]

    assert client.heard == ["resume"]
    client.body(b"abcdef")
    client.end()
    assert second.heard == ["head", "body abcdef", "end"]
    answer(second)


def test_an_upgrade_is_not_asked_for_twice(make_gate: MakeGate) -> None:
    gate = make_gate(2)
    client, origin = ask(gate, UPGRADE)
    origin.fail("upstream-reset")

    assert client.heard == ["reply 502 upstream closed the connection", "done"]


# An answer that breaks off.


def test_a_fault_after_the_answer_began_cuts_the_client(make_gate: MakeGate) -> None:
    gate = make_gate(2)
    client, origin = ask(gate)
    origin.answer(COUNTED)
    origin.body(b"o")
    origin.fail("upstream-cut")

    assert client.heard == ["head 200 counted 2", "body o", "cut"]
    assert origin.heard == ["head", "end", "reset"]
    assert len(opened(gate)) == 1
    assert gate.row["faults"] == 1


def test_an_answer_that_has_not_left_is_taken_back_and_asked_for_again(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(2)
    client, first = ask(gate)
    client.is_corked = True
    first.answer(COUNTED)
    first.fail("upstream-cut")
    assert client.heard == ["head 200 counted 2", "take back"]

    answer(gate.origins[-1])
    assert client.heard[2:] == ["head 200 counted 2", "body ok", "end", "done"]
    assert gate.row["retries"] == 1


def test_an_answer_taken_back_that_nobody_else_gives_is_a_reply(
    make_gate: MakeGate,
) -> None:
    client, origin = ask(make_gate())
    client.is_corked = True
    origin.answer(COUNTED)
    origin.fail("upstream-cut")

    assert client.heard[1:] == [
        "take back", "reply 502 upstream ended its answer early", "done",
    ]  # fmt: skip


def test_a_101_that_nobody_asked_for_is_no_answer(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate())
    origin.answer(SWITCHED)

    assert client.heard == ["reply 502 invalid upstream response", "done"]


# The client goes.


def test_a_client_that_leaves_takes_its_request_along(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate(2))
    client.fail("client-abort")

    assert client.heard == ["cut"]
    assert origin.heard == ["head", "end", "reset"]


def test_a_client_that_takes_nothing_any_more_is_reset(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate())
    origin.answer(COUNTED)
    client.queued = exchange_probe.BROKEN
    client.fail("client-abort")

    assert client.heard == ["head 200 counted 2", "reset"]


def test_a_body_that_stops_is_answered_while_it_still_can_be(
    make_gate: MakeGate,
) -> None:
    client, origin = ask(make_gate(), PUT)
    client.fail("body-timeout")

    assert client.heard == ["reply 408 request body stopped arriving", "done"]
    assert origin.heard == ["head", "reset"]


# Slow peers.


def test_a_slow_client_is_delivered_all_before_it_is_done(make_gate: MakeGate) -> None:
    gate = make_gate()
    gate.is_slow = True
    client, origin = ask(gate)
    answer(origin)

    assert (client.step, client.heard[-1]) == ("deliver", "end")
    assert (gate.leases, gate.exchanges) == ([0], (1, 1))
    client.take()
    assert client.heard[-1] == "done"


def test_a_reply_is_delivered_as_an_answer_is(make_gate: MakeGate) -> None:
    gate = make_gate(path="/b")
    gate.is_slow = True
    client = gate.client()
    client.ask(GET)

    assert client.step == "deliver"
    client.take()
    assert client.heard == ["reply 404 no route for this request", "done"]


def test_a_client_that_does_not_take_its_answer_is_reset(make_gate: MakeGate) -> None:
    gate = make_gate()
    gate.is_slow = True
    client, origin = ask(gate)
    answer(origin)
    client.fail("send-timeout")

    assert client.heard[-2:] == ["end", "reset"]


def test_a_full_origin_is_sent_no_more_until_it_took_what_it_has(
    make_gate: MakeGate,
) -> None:
    client, origin = ask(make_gate(), POST)
    origin.queued = FULL - 1
    assert client.may_send
    origin.queued = FULL
    assert (client.may_send, client.heard) == (False, [])
    origin.take()

    assert (client.may_send, client.heard) == (True, ["resume"])
    client.end()
    answer(origin)


def test_a_flushed_origin_asks_nothing_of_a_request_that_is_whole(
    make_gate: MakeGate,
) -> None:
    client, origin = ask(make_gate())
    origin.take()

    assert client.heard == []
    answer(origin)


def test_a_flushed_client_resumes_the_origin(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate())
    origin.answer(CHUNKED)
    client.queued = FULL
    assert client.is_full
    assert "resume" not in origin.heard
    client.take()

    assert origin.heard[-1] == "resume"
    origin.end()


@pytest.mark.parametrize("most", [0, 1])
def test_a_client_may_take_an_interim_answer_late(
    make_gate: MakeGate, most: int
) -> None:
    """When who gave it is gone, and the next origin connects, or is waited for."""
    gate = make_gate(2, upstream={"upstream_max": most})
    _, other = ask(gate)
    client, first = ask(gate)
    gate.is_slow = True
    first.answer(HINTS)
    gate.opens = ["waits"]
    first.fail("upstream-reset")
    assert client.step == ("queued" if most else "connect")
    client.take()

    answer(other)
    gate.clients[0].take()
    second = gate.origins[-1]
    assert (second.client is client, second.heard) == (True, [])
    second.ready()
    answer(second)
    client.take()
    assert client.heard[-1] == "done"


# Waiting.


def test_who_waits_is_woken_oldest_first(make_gate: MakeGate) -> None:
    gate = make_gate(upstream={"upstream_max": 1})
    first, origin = ask(gate)
    second, third = gate.client(), gate.client()
    second.ask(GET)
    third.ask(GET)
    assert (second.step, third.step, gate.waiting) == ("queued", "queued", [2])
    answer(origin)
    assert first.heard[-1] == "done"

    for client in (second, third):
        assert gate.origins[-1].client is client
        answer(gate.origins[-1])
        assert client.heard[-1] == "done"


def test_who_waits_too_long_leaves_by_the_fault_of_waiting(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(upstream={"upstream_max": 1, "queue_timeout": "1s"})
    _, origin = ask(gate)
    client = gate.client()
    client.ask(GET)
    gate.turn_clock(900)
    assert client.step == "queued"
    gate.turn_clock(150)

    assert client.heard == ["reply 503 waited too long for an endpoint", "done"]
    assert gate.waiting == [0]
    answer(origin)


def test_a_full_queue_takes_nobody(make_gate: MakeGate) -> None:
    gate = make_gate(upstream={"upstream_max": 1, "queue": 1})
    _, origin = ask(gate)
    second, third = gate.client(), gate.client()
    second.ask(GET)
    third.ask(GET)

    assert third.heard == ["reply 503 too many requests are waiting", "done"]
    second.fail("client-abort")
    assert second.heard == ["cut"]
    answer(origin)


def test_a_waiter_that_fails_at_once_is_not_in_the_way_of_the_next(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(upstream={"upstream_max": 1})
    _, origin = ask(gate)
    second, third = gate.client(), gate.client()
    second.ask(GET)
    third.ask(GET)
    gate.opens = ["overload"]
    answer(origin)

    assert second.heard == ["reply 503 too many connections", "done"]
    assert gate.origins[-1].client is third
    answer(gate.origins[-1])


def test_a_waiter_with_a_body_is_read_on_when_its_turn_comes(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(upstream={"upstream_max": 1})
    _, origin = ask(gate)
    client = gate.client()
    client.ask(PUT)
    assert not client.may_send
    answer(origin)

    assert (client.step, client.heard, client.may_send) == ("forward", ["resume"], True)
    client.body(b"abcdef")
    client.end()
    answer(gate.origins[-1])


# Tunnels.


def test_a_tunnel_ends_when_both_have_ended(make_gate: MakeGate) -> None:
    client, origin = tunnel(make_gate())
    client.body(b"hi")
    origin.body(b"ho")
    client.end()
    assert client.step == "tunnel"
    origin.body(b"hum")
    origin.end()

    assert client.heard == ["body ho", "body hum", "end", "done"]
    assert origin.heard == ["body hi", "end", "release"]


def test_a_tunnel_ends_when_what_was_said_is_delivered(make_gate: MakeGate) -> None:
    gate = make_gate()
    client, origin = tunnel(gate)
    gate.is_slow = True
    client.body(b"hi")
    origin.body(b"ho")
    origin.end()
    client.end()
    assert client.step == "tunnel"
    client.take()
    assert client.step == "tunnel"
    origin.take()

    assert client.heard == ["body ho", "end", "done"]
    assert origin.heard == ["body hi", "end", "release"]


def test_a_client_that_breaks_a_tunnel_cuts_both(make_gate: MakeGate) -> None:
    client, origin = tunnel(make_gate())
    client.body(b"hi")
    client.fail("client-abort")

    assert client.heard == ["cut"]
    assert origin.heard == ["body hi", "cut"]


def test_an_origin_that_breaks_a_tunnel_cuts_the_client(make_gate: MakeGate) -> None:
    client, origin = tunnel(make_gate(2))
    origin.fail("upstream-cut")

    assert client.heard == ["cut"]
    assert origin.heard == ["reset"]


def test_what_was_sent_in_hope_of_a_tunnel_is_no_request(make_gate: MakeGate) -> None:
    client, origin = ask(make_gate(), UPGRADE)
    client.has_more = True
    answer(origin)

    assert client.heard[0] == "head 200 counted 2 close"


# The worker goes.


def test_a_draining_worker_keeps_no_client(make_gate: MakeGate) -> None:
    gate = make_gate()
    client, origin = ask(gate)
    gate.drain()
    answer(origin)

    assert client.heard[0] == "head 200 counted 2 close"
    assert client.closes


def test_a_worker_that_ends_answers_whom_it_can_and_cuts_the_others(
    make_gate: MakeGate,
) -> None:
    gate = make_gate(upstream={"upstream_max": 2})
    silent, _ = ask(gate)
    answered, origin = ask(gate)
    origin.answer(COUNTED)
    waiting = gate.client()
    waiting.ask(GET)
    gate.close()

    assert silent.heard == ["reply 503 shutting down", "done"]
    assert answered.heard == ["head 200 counted 2", "cut"]
    assert waiting.heard == ["reply 503 shutting down", "done"]


# Whatever happens.


@pytest.mark.parametrize("seed", range(200))
def test_no_way_out_leaves_anything_behind(make_gate: MakeGate, seed: int) -> None:
    chance = Chance(make_gate, seed)
    for _ in range(200):
        chance.step()
        chance.check()
    chance.leave()
    chance.check()
