"""Choosing an endpoint, and what is held against it."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import attempt_probe
import balance_probe
import origin_probe as probe
import pytest
from support.addresses import reset
from support.lab import OK, SWITCHED, UPGRADE, Lab, is_readable, request
from support.regions import region_of

from fastgate._core import FAULTS

MakeLab = Callable[..., Lab]


# Choosing, and what is remembered of it.


def test_what_was_tried_is_not_chosen_again() -> None:
    upstream = attempt_probe.Upstream(region_of(1, 3))
    for _ in range(3):
        endpoint = upstream.choose(0)
        assert endpoint not in upstream.tried(0)
        upstream.take(0, endpoint)
        upstream.release(0, "upstream-reset")

    assert sorted(upstream.tried(0)) == [0, 1, 2]
    assert upstream.choose(0) == attempt_probe.NO_ENDPOINT
    assert upstream.choose(1) in {0, 1, 2}


def test_after_as_many_tries_as_there_is_room_for_no_endpoint_is_chosen() -> None:
    tries = attempt_probe.TRIES
    upstream = attempt_probe.Upstream(region_of(1, tries + 1))
    for endpoint in range(tries):
        assert upstream.choose(0) >= 0
        upstream.take(0, endpoint)
        upstream.release(0, "upstream-reset")

    assert upstream.choose(0) == attempt_probe.NO_ENDPOINT


def test_another_endpoint_is_one_that_has_room_and_was_not_tried() -> None:
    upstream = attempt_probe.Upstream(region_of(1, 2))
    upstream.take(0, 0)

    assert upstream.has_another(0)
    upstream.set_full(1)
    assert not upstream.has_another(0)
    upstream.set_full(1, False)
    upstream.take(1, 1)
    upstream.release(0)
    upstream.take(0, 1)
    assert not upstream.has_another(0)
    assert upstream.has_another(1)
    assert upstream.has_another(2)


def test_an_ejected_endpoint_is_another_only_where_marks_are_not_heeded() -> None:
    upstream = attempt_probe.Upstream(
        region_of(1, 2), eject_failures=1, eject_for_ms=100
    )
    upstream.take(0, 0)
    upstream.take(1, 1)
    upstream.release(1, "upstream-reset")

    assert not upstream.has_another(0)
    assert upstream.has_another(0, heed_marks=False)


def test_the_verdict_of_an_answer_stands_however_it_ends() -> None:
    upstream = attempt_probe.Upstream(
        region_of(1, 2), eject_failures=3, eject_for_ms=100
    )
    for reason in ("-", "client-abort"):
        upstream.take(0, 0)
        upstream.give_verdict(0, "upstream-status")
        upstream.release(0, reason)
    assert upstream.failures(0) == 2

    upstream.take(0, 1)
    upstream.release(0)
    assert upstream.failures(1) == 0


def test_a_replayed_try_was_none() -> None:
    region = region_of(1, 1)
    upstream = attempt_probe.Upstream(region)
    upstream.take(0, 0)
    upstream.replay(0)

    assert upstream.tried(0) == []
    assert upstream.choose(0) == 0
    assert region.endpoint(0)["in_flight"] == region.endpoint(0)["failures"] == 0


def test_a_lease_is_settled_once() -> None:
    region = region_of(1, 2)
    upstream = attempt_probe.Upstream(region)
    upstream.take(0, 1)
    assert region.endpoint(1)["in_flight"] == 1
    for _ in range(3):
        upstream.release(0)

    assert region.endpoint(1)["in_flight"] == 0


# Judging.


@pytest.mark.parametrize("reason", FAULTS)
def test_what_a_fault_counts_against_its_endpoint(reason: str) -> None:
    region = region_of(1, 1)
    upstream = attempt_probe.Upstream(region)
    upstream.take(0, 0)
    upstream.release(0, reason)

    assert region.endpoint(0)["failures"] == (FAULTS[reason]["side"] == "upstream")
    assert upstream.failures(0) == FAULTS[reason]["ejects"]


@pytest.mark.parametrize("reason", FAULTS)
def test_the_end_of_a_tunnel_counts_against_nobody(reason: str) -> None:
    region = region_of(1, 1)
    upstream = attempt_probe.Upstream(region, eject_failures=1, eject_for_ms=100)
    upstream.take(0, 0)
    upstream.release(0, reason, tunnel=True)

    assert region.endpoint(0)["failures"] == upstream.failures(0) == 0
    assert upstream.told() == []


def test_failures_in_a_row_eject_for_a_time() -> None:
    upstream = attempt_probe.Upstream(
        region_of(1, 2), eject_failures=3, eject_for_ms=100
    )
    for number in range(3):
        assert upstream.told() == []
        upstream.take(number, 0)
        upstream.release(number, "upstream-reset")

    assert [(kind, endpoint) for kind, endpoint, _ in upstream.told()] == [
        ("ejected", 0)
    ]
    assert upstream.failures(0) == 0
    assert [upstream.choose(5) for _ in range(4)] == [1] * 4
    upstream.turn_clock(99)
    assert upstream.told() == []
    upstream.turn_clock(1)
    assert [(kind, endpoint) for kind, endpoint, _ in upstream.told()] == [("back", 0)]
    assert {upstream.choose(5) for _ in range(4)} == {0, 1}


def test_an_answer_ends_the_row() -> None:
    upstream = attempt_probe.Upstream(
        region_of(1, 1), eject_failures=2, eject_for_ms=100
    )
    for number in range(0, 6, 2):
        upstream.take(number, 0)
        upstream.release(number, "upstream-reset")
        assert upstream.failures(0) == 1
        upstream.take(number + 1, 0)
        upstream.answer(number + 1, -1)
        upstream.release(number + 1)
        assert upstream.failures(0) == 0

    assert upstream.told() == []


def test_an_answer_without_a_time_is_no_sample() -> None:
    upstream = attempt_probe.Upstream(region_of(1, 1))
    upstream.take(0, 0)
    upstream.answer(0, -1)
    assert upstream.latency_ns(0) == 0
    upstream.answer(0, 250)

    assert upstream.latency_ns(0) == 250_000


def test_the_error_log_is_told_what_is_known_of_a_failed_try() -> None:
    upstream = attempt_probe.Upstream(region_of(1, 2))
    upstream.take(0, 1)
    rule = b"a name"
    upstream.tell(
        0, "upstream-bad-response", rule=rule, rule_at=7, line=b"GET / HTTP/1.1"
    )
    upstream.tell(0, "upstream-connect", os_error=errno.ECONNREFUSED)

    assert upstream.told() == [
        (
            "failed",
            1,
            {
                "reason": "upstream-bad-response",
                "os_error": 0,
                "rule": rule,
                "rule_at": 7,
                "line": b"GET / HTTP/1.1",
            },
        ),
        (
            "failed",
            1,
            {
                "reason": "upstream-connect",
                "os_error": errno.ECONNREFUSED,
                "rule": None,
                "rule_at": 0,
                "line": b"",
            },
        ),
    ]


# Whose doing it is.


@pytest.mark.parametrize(
    "error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC]
)
def test_what_this_machine_has_run_out_of_is_ours(error: int) -> None:
    assert probe.opening_fault(error, False) == ("overload", False)
    assert probe.opening_fault(error, True) == ("overload", False)


@pytest.mark.parametrize(
    "error", [errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EPERM, errno.EACCES]
)
def test_a_port_or_leave_that_we_lack_is_ours(error: int) -> None:
    assert probe.opening_fault(error, False) == ("local-connect", False)


@pytest.mark.parametrize(
    "error",
    [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT],
)
def test_an_endpoint_that_is_not_there_is_to_blame(error: int) -> None:
    assert probe.opening_fault(error, False) == ("upstream-connect", True)


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EACCES, errno.ECONNREFUSED])
def test_a_unix_socket_that_lets_nobody_in_is_to_blame(error: int) -> None:
    assert probe.opening_fault(error, True) == ("upstream-connect", True)


def test_a_full_backlog_is_busy_and_not_dead(make_lab: MakeLab, tmp_path: Path) -> None:
    path = str(tmp_path / "busy.sock")
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(path)
    busy.listen(0)
    queued = socket.socket(socket.AF_UNIX)
    queued.connect(path)
    lab = make_lab(
        upstream={"endpoints": [f"unix:{path}"], "eject": "1/10s"}, retries=0
    )
    lab.open += [busy, queued]
    client = lab.client()
    client.sendall(request())

    assert lab.read(client, b"connections\n").startswith(b"HTTP/1.1 503")
    assert lab.endpoint()["skipped_ms"] == 0


def test_a_busy_endpoints_request_goes_to_another(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    path = str(tmp_path / "busy.sock")
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(path)
    busy.listen(0)
    queued = socket.socket(socket.AF_UNIX)
    queued.connect(path)
    spare = socket.create_server(("127.0.0.1", 0))
    spare.settimeout(5)
    address = f"127.0.0.1:{spare.getsockname()[1]}"
    lab = make_lab(
        endpoints=2, upstream={"endpoints": [f"unix:{path}", address]}, retries=1
    )
    lab.open += [busy, queued, spare]
    lab.services[1] = spare
    client = lab.client()
    for _ in range(2):
        client.sendall(request())
        lab.settle()
        if is_readable(spare):
            service = lab.accept(1)
        lab.answer(client, service)

    assert lab.row["retries"] >= 1
    assert lab.row["faults"] == 0


# Descriptors.


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Only a number that is given up can be had again."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = [os.dup(0)]
    while fillers[-1] <= highest:
        fillers.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in fillers:
            os.close(fd)


def test_an_idle_connection_gives_its_descriptor_to_another_endpoint(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(endpoints=2, retries=0)
    client = lab.client()
    client.sendall(request())
    lab.until(lambda: any(map(is_readable, lab.services)), "a connection")
    first = 0 if is_readable(lab.services[0]) else 1
    idle = lab.accept(first)
    lab.answer(client, idle)
    client.sendall(request())
    with no_descriptor_left():
        lab.settle()
    service = lab.accept(1 - first)
    lab.read(service, b"\r\n\r\n")
    service.sendall(OK)

    assert lab.read(client, b"ok").startswith(b"HTTP/1.1 200")
    assert lab.read_end(idle) == b""


def test_an_idle_connection_to_an_endpoint_gives_its_descriptor_to_a_client(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(path="/served")
    client = lab.client()
    client.sendall(request("/served"))
    idle = lab.accept()
    lab.read(idle, b"\r\n\r\n")
    idle.sendall(OK)
    lab.read(client, b"ok")
    client.close()
    lab.settle()
    newcomer = lab.client()
    newcomer.sendall(request("/elsewhere"))
    with no_descriptor_left():
        answer = lab.read(newcomer, b"\n")

    assert answer.startswith(b"HTTP/1.1 404")
    assert lab.read_end(idle) == b""


# What is held against an endpoint.


def test_tunnels_that_end_in_a_reset_do_not_eject(make_lab: MakeLab) -> None:
    lab = make_lab(upstream={"eject": "1/10s"})
    client = lab.client()
    client.sendall(UPGRADE)
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    service.sendall(SWITCHED)
    lab.read(client, b"\r\n\r\n")
    reset(service)
    lab.settle()

    assert lab.row["exchanges"] == 0
    assert lab.endpoint()["failures"] == 0
    assert lab.endpoint()["skipped_ms"] == 0


@pytest.mark.parametrize("in_a_row", [-(2**31), -1, 2**31 - 1])
def test_a_failure_ejects_whatever_other_processes_wrote(
    make_lab: MakeLab, in_a_row: int
) -> None:
    lab = make_lab(upstream={"eject": "1/10s"}, retries=0)
    balance_probe.set_failures(lab.region, 0, in_a_row)
    client, service = lab.ask()
    service.close()

    assert lab.read(client, b"\n").startswith(b"HTTP/1.1 502")
    assert lab.endpoint()["skipped_ms"] > 0


@pytest.mark.parametrize("fields", [1, 300])
def test_a_head_past_our_limits_does_not_eject(make_lab: MakeLab, fields: int) -> None:
    lab = make_lab(upstream={"eject": "1/10s"}, retries=0)
    client = lab.client()
    client.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    field = b"X: " + b"x" * (99_000 // fields) + b"\r\n"
    service.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + field * fields)
    lab.settle()

    assert lab.read(client, b"\n").startswith(b"HTTP/1.1 502")
    assert lab.endpoint()["skipped_ms"] == 0


def test_an_answer_that_is_cut_does_not_eject(make_lab: MakeLab) -> None:
    lab = make_lab(upstream={"eject": "1/10s"})
    client = lab.client()
    client.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    service.sendall(OK[:-1])
    lab.read(client, b"o")
    service.close()
    lab.settle()

    assert lab.endpoint()["failures"] == 1
    assert lab.endpoint()["skipped_ms"] == 0


# Retries and the pool.


CUT = [
    OK[:-1],
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    b"HTTP/1.1 200 OK\r\nContent-Le",
]


def cut_short(
    lab: Lab, data: bytes, answer: bytes, end: Callable[[socket.socket], None]
) -> tuple[socket.socket, int]:
    """A client whose answer ends too early, and the endpoint that did that.

    The engine hears of the answer and of its end in one wake-up.
    """
    client = lab.client()
    client.sendall(data)
    lab.until(lambda: any(map(is_readable, lab.services)), "a connection")
    index = 0 if is_readable(lab.services[0]) else 1
    service = lab.accept(index)
    lab.read(service, data[-4:])
    service.sendall(answer)
    end(service)
    return client, index


@pytest.mark.parametrize("answer", CUT)
def test_a_cut_answer_of_which_nothing_has_left_is_asked_for_elsewhere(
    make_lab: MakeLab, answer: bytes
) -> None:
    lab = make_lab(endpoints=2, retries=1, eject="off")
    client, index = cut_short(lab, request(), answer, socket.socket.close)
    other = lab.accept(1 - index)
    lab.read(other, b"\r\n\r\n")
    other.sendall(OK)

    assert lab.read(client, b"ok").startswith(b"HTTP/1.1 200")
    assert lab.row["retries"] == 1
    assert lab.row["faults"] == 0
    assert lab.endpoint(index)["failures"] == 1


def test_an_endless_answer_that_is_reset_at_once_is_asked_for_elsewhere(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(endpoints=2, retries=1)
    endless = b"HTTP/1.0 200 OK\r\n\r\nhello"
    client, index = cut_short(lab, request(), endless, reset)
    other = lab.accept(1 - index)
    lab.read(other, b"\r\n\r\n")
    other.sendall(OK)

    assert lab.read(client, b"ok").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_cut_answer_to_what_must_not_be_sent_twice_is_502(
    make_lab: MakeLab, method: str
) -> None:
    lab = make_lab(endpoints=2, retries=1)
    data = request("/", method, b"body")
    client, index = cut_short(lab, data, CUT[0], socket.socket.close)

    assert lab.read(client, b"\n").startswith(b"HTTP/1.1 502")
    assert not is_readable(lab.services[1 - index])
    assert lab.endpoint(index)["failures"] == 1


def test_an_answer_that_is_cut_everywhere_is_502(make_lab: MakeLab) -> None:
    lab = make_lab(endpoints=2, retries=1)
    client, index = cut_short(lab, request(), CUT[0], socket.socket.close)
    other = lab.accept(1 - index)
    lab.read(other, b"\r\n\r\n")
    other.sendall(CUT[0])
    other.close()

    assert lab.read(client, b"\n").startswith(b"HTTP/1.1 502")
    assert [lab.endpoint(n)["failures"] for n in range(2)] == [1, 1]


def test_an_interim_answer_is_no_part_of_the_answer(make_lab: MakeLab) -> None:
    lab = make_lab(endpoints=2, retries=1)
    client = lab.client()
    client.sendall(request())
    lab.until(lambda: any(map(is_readable, lab.services)), "a connection")
    index = 0 if is_readable(lab.services[0]) else 1
    service = lab.accept(index)
    lab.read(service, b"\r\n\r\n")
    service.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert lab.read(client, b"\r\n\r\n").startswith(b"HTTP/1.1 103")
    service.close()
    other = lab.accept(1 - index)
    lab.read(other, b"\r\n\r\n")
    other.sendall(OK)

    assert lab.read(client, b"ok").startswith(b"HTTP/1.1 200")


def test_an_answer_of_which_a_byte_has_left_is_not_asked_for_again(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(endpoints=2, retries=1)
    client = lab.client()
    client.sendall(request())
    lab.until(lambda: any(map(is_readable, lab.services)), "a connection")
    index = 0 if is_readable(lab.services[0]) else 1
    service = lab.accept(index)
    lab.read(service, b"\r\n\r\n")
    service.sendall(OK[:-1])
    lab.settle()
    service.close()

    assert lab.read_end(client).endswith(b"\r\n\r\no")
    assert not is_readable(lab.services[1 - index])
    assert lab.row["retries"] == 0


def test_a_retry_that_finds_no_other_endpoint_is_not_counted(make_lab: MakeLab) -> None:
    lab = make_lab(retries=3)
    lab.services[0].close()
    client = lab.client()
    client.sendall(request())

    assert lab.read(client, b"\n").startswith(b"HTTP/1.1 503")
    assert lab.row["retries"] == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_body_is_not_sent_into_a_connection_that_has_ended(
    make_lab: MakeLab, method: str
) -> None:
    lab = make_lab(retries=0)
    client = lab.client()
    stale = lab.serve(client)
    others = [lab.client() for _ in range(300)]
    lab.settle()
    # More events than a batch holds: the news of the end comes with the next one.
    client.sendall(request("/", method, b"body"))
    for other in others:
        other.sendall(b"G")
    stale.close()
    service = lab.accept()
    lab.read(service, b"body")
    service.sendall(OK)

    assert lab.read(client, b"ok").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("said", "is_kept"),
    [("timeout=1", False), ("max=9, timeout=1", False), ("timeout=60", True)],
)
def test_a_connection_leaves_the_pool_before_its_endpoint_closes_it(
    make_lab: MakeLab, said: str, is_kept: bool
) -> None:
    lab = make_lab()
    client = lab.client()
    client.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    service.sendall(
        OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: %b\r\n\r\n" % said.encode())
    )
    lab.read(client, b"ok")
    lab.pause(0.7)

    assert lab.row["upstream_connections"] == is_kept


def test_a_connection_that_its_endpoint_does_not_keep_is_not_pooled(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client = lab.client()
    client.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    service.sendall(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=0\r\n\r\n"))
    lab.read(client, b"ok")

    assert lab.read_end(service) == b""


def test_a_replay_takes_the_place_of_an_idle_connection(make_lab: MakeLab) -> None:
    lab = make_lab(endpoints=2, upstream={"upstream_max": 1}, retries=0)
    client = lab.client()
    services: dict[int, socket.socket] = {}
    while len(services) < 2:
        client.sendall(request())
        lab.until(lambda: any(map(is_readable, lab.services)), "a connection")
        at = 0 if is_readable(lab.services[0]) else 1
        services[at] = lab.accept(at)
        lab.read(services[at], b"\r\n\r\n")
        services[at].sendall(OK)
        lab.read(client, b"ok")
    # The next turn is that of the endpoint that was asked first.
    stale, other = services[1 - at], services[at]
    others = [lab.client() for _ in range(300)]
    lab.settle()
    client.sendall(request("/again"))
    for one in others:
        one.sendall(b"G")
    stale.close()
    service = lab.accept(at)
    lab.read(service, b"\r\n\r\n")

    assert lab.read_end(other) == b""
    assert lab.row["upstream_connections"] == 1
