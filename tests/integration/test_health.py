"""Active checks: endpoints go out of the rotation and come back by themselves."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.gateway import Gateway, run_cli
from support.origin import Origin, OriginConnection, response, serve
from support.rig import Rig
from support.waiting import eventually

Answer = Callable[[OriginConnection], None]

FAST = {
    "path": "/healthz",
    "interval": "200ms",
    "fast_interval": "100ms",
    "timeout": "150ms",
    "rise": 2,
    "fall": 2,
}
TCP = {key: value for key, value in FAST.items() if key != "path"} | {"tcp": True}


class Service:
    """An origin whose answer to its check can be changed while it runs.

    answer  what it does when asked for /healthz; None: it answers 200
    """

    def __init__(self, rig: Rig, **kwargs: Any) -> None:
        self.answer: Answer | None = None
        self.heads: list[bytes] = []
        self.origin = rig.origin(self._run, **kwargs)
        self.address = self.origin.address
        self.served = 0

    def _run(self, connection: OriginConnection) -> None:
        while (request := connection.read_request()) is not None:
            if request.target != b"/healthz":
                self.served += 1
                connection.send(response(200, self.origin.name.encode()))
                continue
            self.heads.append(request.head)
            if self.answer is None:
                connection.send(response(200, b"fine"))
            else:
                self.answer(connection)


def wait_health(gateway: Gateway, address: str, health: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        status = gateway.status_or_none()
        if status is None:
            return None
        endpoints = status["upstreams"]["main"]["endpoints"]
        (endpoint,) = [e for e in endpoints if e["address"] == address]
        return endpoint if endpoint["health"] == health else None

    return eventually(found, within_s=10, what=f"{address} is {health}")


def status(code: int) -> Answer:
    return lambda connection: connection.send(response(code, b"no"))


def hang(connection: OriginConnection) -> None:
    connection.read_to_end()


def reset(connection: OriginConnection) -> None:
    connection.reset()


def garbage(connection: OriginConnection) -> None:
    connection.send(b"\x16\x03\x01 what is this?\r\n\r\n")
    connection.close()


def drip(connection: OriginConnection) -> None:
    connection.drip(response(200, b"x" * 100), pause_s=0.05)
    connection.close()


def cut(connection: OriginConnection) -> None:
    connection.send(response(200, b"x" * 100)[:-1])
    connection.close()


def silent_end(connection: OriginConnection) -> None:
    connection.close()


def endless_head(connection: OriginConnection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 8000)
    connection.read_to_end()


def endless_interim(connection: OriginConnection) -> None:
    connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000)
    connection.read_to_end()


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (status(500), "status 500"),
        (status(404), "status 404"),
        (hang, "no answer within 150ms"),
        (reset, "connection reset by peer"),
        (garbage, "the answer is not HTTP"),
        (drip, "no whole answer within 150ms"),
        (cut, "closed before the answer was whole"),
        (silent_end, "closed without an answer"),
        (endless_head, "the head of the answer is too long"),
        (endless_interim, "the head of the answer is too long"),
    ],
)
def test_an_endpoint_that_fails_its_checks_goes_and_comes_back(
    rig: Rig, fault: Answer, cause: str
) -> None:
    one, other = Service(rig), Service(rig)
    gateway = rig.gateway(one, other, upstream={"health": FAST})
    wait_health(gateway, one.address, "up")
    one.answer = fault
    wait_health(gateway, one.address, "down")
    assert gateway.endpoints()[one.address]["state"] == "down"

    before = one.served
    with gateway.client() as client:
        answers = [client.ask("GET", "/").body for _ in range(6)]
    assert answers == [other.origin.name.encode()] * 6
    assert one.served == before
    gateway.stderr.wait_for(
        rf"endpoint {re.escape(one.address)} \(upstream main\) is down:"
        rf" health check: {cause}, 2 in a row; 1 of 2 are healthy"
    )

    one.answer = None
    wait_health(gateway, one.address, "up")
    gateway.stderr.wait_for(
        rf"{re.escape(one.address)} .* is up: health check: 2 checks passed"
    )
    with gateway.client() as client:
        eventually(
            lambda: client.ask("GET", "/").body == one.origin.name.encode(),
            what="it is asked again",
        )


def test_with_slow_start_an_endpoint_that_comes_back_gets_little_at_first(
    rig: Rig,
) -> None:
    one, other = Service(rig), Service(rig)
    gateway = rig.gateway(one, other, upstream={"health": FAST, "slow_start": "1h"})
    wait_health(gateway, one.address, "up")
    with gateway.client() as client:
        for _ in range(100):
            client.ask("GET", "/")
        assert one.served >= 40
        one.answer = status(500)
        wait_health(gateway, one.address, "down")
        one.answer = None
        wait_health(gateway, one.address, "up")
        before = one.served
        for _ in range(100):
            client.ask("GET", "/")

    assert 1 <= one.served - before <= 25


def test_no_request_fails_while_an_endpoint_goes_by_its_checks(rig: Rig) -> None:
    one, other = Service(rig), Service(rig)
    gateway = rig.gateway(one, other, upstream={"health": FAST})
    wait_health(gateway, one.address, "up")
    over = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        with gateway.client() as client:
            while not over.is_set():
                answers.append(client.ask("GET", "/").status)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    one.answer = status(503)
    wait_health(gateway, one.address, "down")
    one.answer = None
    wait_health(gateway, one.address, "up")
    over.set()
    for thread in threads:
        thread.join()

    assert len(answers) > 10
    assert set(answers) == {200}


def test_an_endpoint_that_is_down_at_first_takes_nothing_before_it_passed(
    rig: Rig,
) -> None:
    service = Service(rig)
    asked = threading.Event()
    lets = threading.Event()

    def late(connection: OriginConnection) -> None:
        asked.set()
        lets.wait(10)
        connection.send(response(200, b"fine"))

    service.answer = late
    rules = FAST | {"initial": "down", "timeout": "5s"}
    gateway = rig.gateway(service, upstream={"health": rules})
    assert asked.wait(5)
    assert gateway.endpoints()[service.address]["health"] == "waiting"
    assert gateway.fetch("GET", "/").status == 503
    assert service.served == 0

    lets.set()
    wait_health(gateway, service.address, "up")
    assert gateway.fetch("GET", "/").status == 200


def test_an_endpoint_refused_at_its_first_check_is_down(rig: Rig) -> None:
    origin = rig.origin()
    origin.stop_listening()
    gateway = rig.gateway(origin, upstream={"health": FAST})
    wait_health(gateway, origin.address, "down")
    gateway.stderr.wait_for(
        "connection refused, at its first check; 0 of 1 are healthy"
    )

    origin.listen_again()
    wait_health(gateway, origin.address, "up")


def test_an_endpoint_that_takes_no_new_connections_is_found_out(rig: Rig) -> None:
    service = Service(rig)
    gateway = rig.gateway(service, upstream={"health": FAST})
    wait_health(gateway, service.address, "up")
    service.origin.stop_listening()

    wait_health(gateway, service.address, "down")
    assert not [c for c in service.origin.connections if c.saw_reset]


def test_one_connection_serves_several_checks(rig: Rig) -> None:
    service = Service(rig)
    rig.gateway(service, upstream={"health": FAST})
    eventually(lambda: len(service.heads) >= 15, within_s=10)

    assert len(service.origin.connections) <= 2


def test_a_connection_that_went_stale_is_no_failure(rig: Rig) -> None:
    service = Service(rig)

    def and_leave(connection: OriginConnection) -> None:
        # Keep-alive by its head, and closed as soon as the next check comes.
        connection.send(response(200, b"fine"))
        connection.read_head()
        connection.close()

    service.answer = and_leave
    gateway = rig.gateway(service, upstream={"health": FAST})
    eventually(lambda: len(service.origin.connections) >= 6, within_s=10)

    check = gateway.endpoints()[service.address]["check"]
    assert check["failed"] == 0
    assert check["last"] == "passed"


@pytest.mark.parametrize("framing", ["length", "chunked", "eof"])
def test_an_answer_in_any_framing_passes(rig: Rig, framing: str) -> None:
    service = Service(rig)

    def answer(connection: OriginConnection) -> None:
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        connection.send(response(204 if framing == "none" else 200, framing=framing))
        if framing == "eof":
            connection.close()

    service.answer = answer
    gateway = rig.gateway(service, upstream={"health": FAST})
    eventually(lambda: len(service.heads) >= 3, within_s=10)

    assert gateway.endpoints()[service.address]["check"]["failed"] == 0


def test_a_head_has_no_body_to_wait_for(rig: Rig) -> None:
    def answer(connection: OriginConnection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")

    service = Service(rig)
    service.answer = answer
    gateway = rig.gateway(service, upstream={"health": FAST | {"method": "HEAD"}})
    wait_health(gateway, service.address, "up")
    eventually(lambda: len(service.heads) >= 3, within_s=10)

    assert service.heads[0].startswith(b"HEAD /healthz HTTP/1.1\r\n")
    assert gateway.endpoints()[service.address]["check"]["failed"] == 0


def test_the_request_is_what_the_configuration_says(rig: Rig) -> None:
    service = Service(rig)
    rules = FAST | {"host": "users.internal", "headers": {"X-Probe": "yes"}}
    gateway = rig.gateway(service, upstream={"health": rules})
    wait_health(gateway, service.address, "up")

    lines = service.heads[0].decode().split("\r\n")
    assert lines[:2] == ["GET /healthz HTTP/1.1", "Host: users.internal"]
    assert "X-Probe: yes" in lines
    assert any(line.startswith("User-Agent: fastgate/") for line in lines)


def test_another_port_is_checked_where_one_is_given(rig: Rig) -> None:
    service, checked = Service(rig), Service(rig)
    port = int(checked.address.rpartition(":")[2])
    gateway = rig.gateway(service, upstream={"health": FAST | {"port": port}})
    wait_health(gateway, service.address, "up")

    assert not service.heads
    assert f"Host: {checked.address}\r\n".encode() in checked.heads[0]


def test_expected_statuses_alone_pass(rig: Rig) -> None:
    service = Service(rig)
    service.answer = status(204)
    gateway = rig.gateway(service, upstream={"health": FAST | {"expect": "200,503"}})
    wait_health(gateway, service.address, "down")
    service.answer = status(503)
    wait_health(gateway, service.address, "up")


def test_the_body_has_to_contain_the_pattern(rig: Rig) -> None:
    service = Service(rig)
    gateway = rig.gateway(service, upstream={"health": FAST | {"body": "^f.ne$"}})
    wait_health(gateway, service.address, "up")
    service.answer = lambda c: c.send(response(200, b"not " * 40000, framing="chunked"))
    wait_health(gateway, service.address, "down")

    check = gateway.endpoints()[service.address]["check"]
    assert check["last"] == "the body does not contain what is expected"


def pong(connection: OriginConnection) -> None:
    connection.read_through(b"PING\r\n")
    connection.send(b"+PO")
    connection.send(b"NG\r\n")
    connection.wait_closed()


def sorry(connection: OriginConnection) -> None:
    connection.read_through(b"PING\r\n")
    connection.send(b"-LOADING\r\n")
    connection.close()


def test_a_tcp_check_sends_and_expects(rig: Rig) -> None:
    origin = rig.origin(sorry)
    rules = TCP | {"send": "PING\r\n", "expect": "+PONG"}
    gateway = rig.gateway(origin, upstream={"health": rules})
    wait_health(gateway, origin.address, "down")
    cause = gateway.endpoints()[origin.address]["check"]["last"]
    assert cause == "the answer does not contain what is expected"

    origin.script = pong
    wait_health(gateway, origin.address, "up")
    origin.script = hang
    wait_health(gateway, origin.address, "down")
    cause = gateway.endpoints()[origin.address]["check"]["last"]
    assert cause == "no answer within 150ms"


def test_a_tcp_check_needs_no_more_than_a_connection(rig: Rig) -> None:
    origin = rig.origin(hang)
    gateway = rig.gateway(origin, upstream={"health": TCP})
    wait_health(gateway, origin.address, "up")
    origin.stop_listening()
    wait_health(gateway, origin.address, "down")


def test_an_endpoint_on_a_unix_socket_is_checked(rig: Rig) -> None:
    service = Service(rig, family="unix")
    gateway = rig.gateway(service, upstream={"health": FAST})
    wait_health(gateway, service.address, "up")
    assert b"\r\nHost: localhost\r\n" in service.heads[0]

    service.origin.stop_listening()
    wait_health(gateway, service.address, "down")


def steward_of(gateway: Gateway) -> int:
    """The pid of its steward; it must have one."""
    for pid in gateway.session_pids():
        with open(f"/proc/{pid}/comm") as file:
            if file.read().strip() == "fastgate-s":
                return pid
    raise AssertionError("there is no steward")


def test_a_killed_steward_changes_nothing_and_its_successor_goes_on(rig: Rig) -> None:
    one, other = Service(rig), Service(rig)
    one.answer = status(500)
    gateway = rig.gateway(one, other, upstream={"health": FAST})
    wait_health(gateway, one.address, "down")
    wait_health(gateway, other.address, "up")
    gateway.checks_quiet = False
    os.kill(steward_of(gateway), signal.SIGKILL)
    gateway.stderr.wait_for("steward .* was ended by SIGKILL")

    with gateway.client() as client:
        answers = {client.ask("GET", "/").body for _ in range(6)}
    assert answers == {other.origin.name.encode()}
    found = eventually(gateway.status_or_none, within_s=10)
    healths = [e["health"] for e in found["upstreams"]["main"]["endpoints"]]
    assert healths == ["down", "up"]

    one.answer = None
    wait_health(gateway, one.address, "up")
    gateway.stderr.wait_for(f"{re.escape(one.address)} .* is up: health check")


def test_a_gateway_without_an_admin_socket_checks_too(rig: Rig) -> None:
    service = Service(rig)
    service.answer = status(500)
    gateway = rig.gateway(
        service, upstream={"health": FAST}, flags=["--admin-socket", ""], ready=False
    )
    gateway.checks_quiet = False  # there is nobody to ask
    gateway.stderr.wait_for("is down: health check: status 500", within_s=20)


def test_every_change_is_an_event(rig: Rig) -> None:
    service = Service(rig)
    gateway = rig.gateway(service, upstream={"health": FAST})
    wait_health(gateway, service.address, "up")
    assert gateway.status()["events"] == []
    service.answer = status(500)
    down = wait_health(gateway, service.address, "down")
    service.answer = None
    wait_health(gateway, service.address, "up")

    events = gateway.status()["events"]
    assert [(e["upstream"], e["endpoint"], e["what"], e["cause"]) for e in events] == [
        ("main", service.address, "down", "health check: status 500, 2 in a row"),
        ("main", service.address, "up", "health check: 2 checks passed"),
    ]
    assert events[0]["at"] == down["check"]["since"]
    table = run_cli("status", "--admin-socket", gateway.admin_socket).stdout
    assert "CHECKS" in table
    assert "passed" in table


def test_an_endpoint_without_checks_has_none(rig: Rig) -> None:
    origin: Origin = rig.origin(serve)
    gateway = rig.gateway(origin)

    endpoint = gateway.endpoints()[origin.address]
    assert (endpoint["health"], endpoint["check"]) == ("unchecked", None)
    assert gateway.status()["events"] == []


def test_health_survives_a_reload_and_checks_go_on(rig: Rig) -> None:
    one, other = Service(rig), Service(rig)
    one.answer = status(500)
    gateway = rig.gateway(one, other, upstream={"health": FAST})
    wait_health(gateway, one.address, "down")
    wait_health(gateway, other.address, "up")
    assert gateway.reload()[0] == 200

    with gateway.client() as client:
        answers = {client.ask("GET", "/").body for _ in range(6)}
    assert answers == {other.origin.name.encode()}
    wait_health(gateway, one.address, "down")
    one.answer = None
    wait_health(gateway, one.address, "up")


def test_a_reload_without_checks_gives_the_endpoint_requests_again(rig: Rig) -> None:
    service = Service(rig)
    service.answer = status(500)
    gateway = rig.gateway(service, upstream={"health": FAST})
    wait_health(gateway, service.address, "down")
    assert gateway.config is not None
    del gateway.config["upstreams"]["main"]["health"]
    gateway.configure(gateway.config)
    assert gateway.reload()[0] == 200

    wait_health(gateway, service.address, "unchecked")
    assert gateway.fetch("GET", "/").status == 200
