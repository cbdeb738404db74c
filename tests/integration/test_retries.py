"""Retries over sockets: what endpoints are asked, and what clients are given."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from support import addresses
from support.client import request
from support.origin import Origin, OriginConnection, always, once, response, silent
from support.rig import Rig
from support.waiting import Stopwatch, eventually

OK = response(200, b"ok")
BUSY = response(503, b"busy")
DEAD = {
    "refuses": None,
    "resets": once(b"", end="reset"),
    "says 503": always(BUSY),
    "talks nonsense": once(b"\x00\x01\r\n\r\n"),
}
EVERYTHING = ["connect", "reset", "timeout", "bad", 429, 502, 503]


def attempts(*origins: Origin) -> int:
    return sum(len(origin.requests) for origin in origins)


def retry(**keys: Any) -> dict[str, Any]:
    return {"retry": {"on": EVERYTHING, "budget": "100%"} | keys, "eject": "off"}


@pytest.mark.parametrize("kind", DEAD)
def test_one_bad_endpoint_costs_no_client_an_error(rig: Rig, kind: str) -> None:
    script = DEAD[kind]
    bad = rig.origin(script) if script else addresses.unused()
    gateway = rig.gateway(bad, rig.origin(), upstream=retry())
    with gateway.client() as client:
        answers = [client.ask("GET", "/size/3") for _ in range(20)]

    assert {answer.status for answer in answers} == {200}
    retries = gateway.status()["totals"]["retries"]
    assert retries == len(bad.requests) if isinstance(bad, Origin) else retries > 0


def test_a_503_that_is_everywhere_is_given_as_it_is(rig: Rig) -> None:
    origins = [rig.origin(always(BUSY)) for _ in range(3)]
    gateway = rig.gateway(*origins, upstream=retry(tries=1))
    answer = gateway.fetch("GET", "/")

    assert (answer.status, answer.body) == (503, b"busy")
    assert attempts(*origins) == 2


def test_a_large_answer_with_a_listed_status_is_dropped_whole(rig: Rig) -> None:
    large = rig.origin(always(response(502, b"x" * 3_000_000)))
    gateway = rig.gateway(large, rig.origin(always(OK)), upstream=retry())
    with gateway.client() as client:
        answers = [client.ask("GET", "/") for _ in range(6)]

    assert [answer.body for answer in answers] == [b"ok"] * 6


def test_a_post_passes_a_listed_status_on(rig: Rig) -> None:
    busy = rig.origin(always(BUSY))
    gateway = rig.gateway(busy, rig.origin(always(BUSY)), upstream=retry())
    answer = gateway.fetch("POST", "/", body=b"one")

    assert (answer.status, answer.body) == (503, b"busy")
    assert gateway.status()["totals"]["retries"] == 0


def test_a_held_post_is_sent_again_if_all_methods_are(rig: Rig) -> None:
    resets, good = rig.origin(once(b"", end="reset")), rig.origin()
    gateway = rig.gateway(
        resets, good, upstream=retry(methods="all") | {"buffer_request": "1m"}
    )
    body = b"0123456789" * 50_000
    statuses = [gateway.fetch("POST", "/any", body=body).status for _ in range(6)]

    assert statuses == [200] * 6
    assert {one.body for one in good.requests} == {body}
    assert len(good.requests) == 6


def test_a_try_that_takes_too_long_is_given_up_for_another(rig: Rig) -> None:
    gateway = rig.gateway(
        rig.origin(silent), rig.origin(always(OK)), upstream=retry(per_try="100ms")
    )
    watch = Stopwatch()
    statuses = [gateway.fetch("GET", "/").status for _ in range(4)]

    assert statuses == [200] * 4
    assert watch.seconds < 3


def test_the_deadline_is_that_of_all_tries(rig: Rig) -> None:
    origins = [rig.origin(silent) for _ in range(4)]
    gateway = rig.gateway(
        *origins, upstream=retry(per_try="150ms", tries=3) | {"deadline": "200ms"}
    )
    answer = gateway.fetch("GET", "/")

    assert answer.status == 504
    assert b"deadline" in answer.body
    assert attempts(*origins) == 2


def test_a_pause_ends_with_the_drain_and_the_request_is_served(rig: Rig) -> None:
    resets, good = rig.origin(once(b"", end="reset")), rig.origin(always(OK))
    gateway = rig.gateway(
        resets, good, upstream=retry(backoff="10s"), drain="5s", workers=1
    )
    clients = [rig.client(gateway) for _ in range(8)]
    for client in clients:
        client.send(request("GET", "/"))
    eventually(lambda: len(resets.requests) == 4, within_s=5)
    watch = Stopwatch()
    stopper = threading.Thread(target=gateway.stop)
    stopper.start()

    assert [client.read_response().status for client in clients] == [200] * 8
    stopper.join()
    assert watch.seconds < 4


def test_a_client_may_leave_in_a_pause(rig: Rig) -> None:
    resets = [rig.origin(once(b"", end="reset")) for _ in range(2)]
    gateway = rig.gateway(*resets, upstream=retry(backoff="10s"), workers=1)
    clients = [rig.client(gateway) for _ in range(8)]
    for client in clients:
        client.send(request("GET", "/"))
    eventually(lambda: attempts(*resets) >= 8, within_s=5)
    for client in clients:
        client.reset()

    eventually(lambda: gateway.status()["totals"]["exchanges"] == 0, within_s=5)


def test_a_line_of_the_log_tells_of_the_retries_that_were_made(
    rig: Rig, tmp_path: Any
) -> None:
    log = tmp_path / "access.log"
    gateway = rig.gateway(
        rig.origin(always(BUSY)),
        rig.origin(always(BUSY)),
        upstream=retry(),
        access_log=str(log),
        access_log_format="json",
    )
    gateway.fetch("GET", "/")
    gateway.stop()

    line = json.loads(log.read_text())
    assert (line["status"], line["retries"], line["reason"]) == (503, 1, None)


def test_the_error_log_names_the_status(rig: Rig) -> None:
    gateway = rig.gateway(
        rig.origin(always(BUSY)), rig.origin(always(OK)), upstream=retry(), workers=1
    )
    for _ in range(2):
        assert gateway.fetch("GET", "/here").status == 200

    gateway.stderr.wait_for(
        'failed, upstream-status: 503 is listed by retry.on for "GET /here HTTP/1.1"'
    )


@pytest.mark.parametrize("kind", ["resets", "says 503", "talks nonsense"])
def test_a_dead_pool_is_asked_a_fifth_more_than_there_are_requests(
    rig: Rig, kind: str
) -> None:
    origins = [rig.origin(DEAD[kind]) for _ in range(2)]
    gateway = rig.gateway(
        *origins, upstream={"retry": {"on": EVERYTHING, "tries": 8}}, workers=1
    )
    count = 400
    with gateway.client() as client:
        statuses = {client.ask("GET", "/").status for _ in range(count)}

    assert statuses <= {502, 503}
    # Beyond the share a worker has ten at its start.
    assert count <= attempts(*origins) <= 1.2 * count + 10


def test_a_request_is_at_most_once_at_each_endpoint(rig: Rig) -> None:
    seen: list[tuple[int, bytes]] = []

    def busy(number: int) -> Any:
        def script(connection: OriginConnection) -> None:
            while one := connection.read_request():
                seen.append((number, one.target))
                connection.send(BUSY)

        return script

    gateway = rig.gateway(
        *[rig.origin(busy(n)) for n in range(4)], upstream=retry(tries=8), workers=1
    )
    # There are ten retries saved up.
    for n in range(3):
        assert gateway.fetch("GET", f"/{n}").status == 503

    assert len(seen) == len(set(seen)) == 12
