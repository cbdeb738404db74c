"""The engine in this process: orders of events that no outside test can force."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.lab import OK, UPGRADE, Lab, is_readable, request

MakeLab = Callable[..., Lab]


PIECE = bytes(16384)


def pass_on(lab: Lab, client: socket.socket, n_pieces: int) -> int:
    """Send pieces for as long as the engine reads them; how many it read."""
    for k in range(n_pieces):
        before = lab.row["bytes_in"]
        client.sendall(PIECE)
        lab.settle(0.002)
        if lab.row["bytes_in"] < before + len(PIECE):
            return k
    return n_pieces


# Tunnels.


def test_a_tunnel_that_ends_by_its_last_flush_is_closed_once(make_lab: MakeLab) -> None:
    settings = {"buffer_response": "256k"}
    lab = make_lab(**settings)
    client, service = lab.tunnel(receive_bytes=4096)
    n_pieces = pass_on(lab, client, 10_000)
    lab = make_lab(**settings)
    client, service = lab.tunnel(receive_bytes=4096)
    service.shutdown(socket.SHUT_WR)
    assert lab.read_end(client) == b""
    # Part of it is held by the engine, and yet it has read the end.
    n_pieces = pass_on(lab, client, n_pieces - 8)
    client.shutdown(socket.SHUT_WR)
    lab.settle()
    service.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    received = len(lab.read_end(service))
    lab.settle()

    assert received == n_pieces * len(PIECE)
    assert lab.row["upstream_connections"] == 0
    assert lab.row["exchanges"] == 0


def test_the_end_of_a_tunnel_wakes_a_waiter(make_lab: MakeLab) -> None:
    upstream = {"upstream_max": 1, "queue": 4, "queue_timeout": "60s"}
    lab = make_lab(upstream=upstream)
    client, service = lab.tunnel()
    waiter = lab.client()
    waiter.sendall(request())
    lab.settle()
    client.shutdown(socket.SHUT_WR)
    lab.read_end(service)
    service.shutdown(socket.SHUT_WR)

    served = lab.accept()
    lab.read(served, b"\r\n\r\n")
    served.sendall(OK)

    assert lab.read(waiter, b"ok").startswith(b"HTTP/1.1 200")


def test_silent_tunnels_do_not_eject_their_endpoint(make_lab: MakeLab) -> None:
    lab = make_lab(upstream={"tunnel_timeout": "50ms", "eject": "1/10s"})
    client, _ = lab.tunnel()

    with pytest.raises(ConnectionResetError):
        lab.read_end(client)

    assert lab.endpoint()["failures"] == 0
    assert lab.endpoint()["skipped_ms"] == 0


# Shared memory.


def test_a_worker_counts_in_its_own_row_of_a_region_with_room(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(slot=2, spare=3)
    lab.serve(lab.client())

    assert [lab.endpoint(n)["connects"] for n in range(4)] == [1, 0, 0, 0]
    assert [lab.endpoint(n)["total"] for n in range(4)] == [1, 0, 0, 0]


# The queue.


def test_a_retry_gives_its_first_place_to_who_waits(make_lab: MakeLab) -> None:
    upstream = {"upstream_max": 1, "queue": 4, "queue_timeout": "60s", "retries": 1}
    lab = make_lab(endpoints=2, upstream=upstream)
    clients = [lab.client() for _ in range(3)]
    for client in clients:
        client.sendall(request())
        lab.settle()
    failing, busy = lab.accept(0), lab.accept(1)
    lab.read(failing, b"\r\n\r\n")
    lab.read(busy, b"\r\n\r\n")
    failing.close()

    served = lab.accept(0)

    assert lab.read(served, b"\r\n\r\n").startswith(b"GET / ")


def test_who_stands_behind_a_waiter_that_does_not_fit_is_served(
    make_lab: MakeLab,
) -> None:
    upstream = {"upstream_max": 1, "queue": 4, "queue_timeout": "60s", "retries": 1}
    lab = make_lab(endpoints=2, upstream=upstream)
    clients = [lab.client() for _ in range(3)]
    for client in clients:
        client.sendall(request())
        lab.settle()
    first = 0 if is_readable(lab.services[0]) else 1
    failing, busy = lab.accept(first), lab.accept(1 - first)
    lab.read(failing, b"\r\n\r\n")
    lab.read(busy, b"\r\n\r\n")
    failing.close()
    served = lab.accept(first)
    lab.read(served, b"\r\n\r\n")
    last = lab.client()
    last.sendall(request("/last"))
    lab.settle()
    served.sendall(OK)

    assert lab.read(served, b"\r\n\r\n").startswith(b"GET /last ")


def test_a_retry_waits_before_who_came_later(make_lab: MakeLab) -> None:
    upstream = {"upstream_max": 1, "queue": 4, "queue_timeout": "60s", "retries": 1}
    lab = make_lab(endpoints=2, upstream=upstream)
    clients = [lab.client() for _ in range(4)]
    for n, client in enumerate(clients):
        client.sendall(request(f"/{n}"))
        lab.settle()
    both = [lab.accept(0), lab.accept(1)]
    heads = [lab.read(one, b"\r\n\r\n") for one in both]
    first = 0 if heads[0].startswith(b"GET /0 ") else 1
    both[first].close()
    lab.read(lab.accept(first), b"\r\n\r\n")
    both[1 - first].sendall(OK)

    assert lab.read(both[1 - first], b"\r\n\r\n").startswith(b"GET /0 ")


def test_all_endpoints_are_used_before_anybody_is_refused(make_lab: MakeLab) -> None:
    upstream = {"balance": "hash", "hash_key": "path", "hash_bound": 0}
    lab = make_lab(endpoints=80, upstream={"upstream_max": 1, "queue": 0} | upstream)
    clients = [lab.client() for _ in range(80)]
    for client in clients:
        client.sendall(request())
    lab.settle()

    assert lab.row["exchanges"] == lab.row["upstream_connections"] == 80
    assert all(is_readable(one) for one in lab.services)


def test_nothing_is_sent_to_an_endpoint_once_closing_has_begun(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(upstream={"upstream_max": 1, "queue": 4, "queue_timeout": "60s"})
    client, waiter = lab.client(), lab.client()
    client.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    waiter.sendall(request("/late", "POST"))
    lab.settle()
    lab.engine.close()

    assert not is_readable(lab.services[0])
    assert waiter.recv(4096).startswith(b"HTTP/1.1 503")
    assert lab.endpoint()["total"] == 1


# The pool.


def test_a_connection_that_waits_its_turn_may_be_idle_by_then(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(send_bytes=4608, buffer_response="256k")
    client = lab.client(receive_bytes=4096)
    client.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    length = 200_000
    service.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + bytes(length - 1)
    )
    lab.settle()
    received = len(client.recv(65536))
    while not lab.is_due():
        received += len(client.recv(65536))
    service.sendall(b"!")
    lab.settle()
    while received < length:
        received += len(client.recv(65536))
        lab.settle()

    assert lab.row["upstream_connections"] == 1
    assert not is_readable(service)


def test_an_unasked_answer_in_the_batch_of_a_request_is_not_its_answer(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client = lab.client()
    idle = lab.serve(client)
    lab.settle()
    client.sendall(request("/next"))
    idle.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    lab.poll()

    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    service.sendall(OK)

    assert lab.read(client, b"ok").endswith(b"\r\n\r\nok")


# Answers before the request is complete.


def test_an_early_answer_survives_the_reset_behind_it(make_lab: MakeLab) -> None:
    lab = make_lab()
    others = [lab.client() for _ in range(300)]
    client = lab.client()
    client.sendall(request(method="POST", body=b"")[:-4].replace(b": 0", b": 99999"))
    client.sendall(b"\r\n\r\n")
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    client.sendall(b"a" * 100)
    lab.settle()
    client.sendall(b"b" * 100)
    for other in others:
        other.sendall(b"G")
    service.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
    service.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    service.close()

    assert lab.read(client, b"no").startswith(b"HTTP/1.1 413")


def test_a_slow_body_is_not_the_endpoints_fault(make_lab: MakeLab) -> None:
    lab = make_lab(
        upstream={"upstream_timeout": "50ms", "eject": "1/10s"}, body_timeout="250ms"
    )
    client = lab.client()
    client.sendall(request(method="POST", body=b"slow")[:-1])

    answer = lab.read_end(client)

    assert answer.startswith(b"HTTP/1.1 408")
    assert lab.endpoint()["failures"] == 0
    assert lab.endpoint()["skipped_ms"] == 0


def test_the_time_to_answer_begins_with_the_end_of_the_request(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(upstream={"upstream_timeout": "100ms"}, retries=0)
    client = lab.client()
    client.sendall(request(method="POST", body=b"slow"))
    service = lab.accept()
    lab.read(service, b"slow")

    assert lab.read(client, b"\n").startswith(b"HTTP/1.1 504")
    assert lab.endpoint()["failures"] == 1


def test_a_slow_upload_says_nothing_of_its_endpoints_latency(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client = lab.client()
    client.sendall(request(method="POST", body=b"slow")[:-1])
    service = lab.accept()
    lab.pause(0.2)
    client.sendall(b"w")
    lab.read(service, b"slow")
    service.sendall(OK)
    lab.read(client, b"ok")

    assert lab.endpoint()["latency_us"] == 0
    client.sendall(request())
    lab.answer(client, service)
    assert 0 < lab.endpoint()["latency_us"] < 200_000


# Refusals to clients that do not read.


def fill_client(lab: Lab, last: bytes) -> socket.socket:
    """A client that reads nothing; the answer to `last` is the first not taken."""
    probe = lab.client(receive_bytes=2304)
    probe.sendall(request() * 400)
    lab.pause(0.5)
    taken = lab.row["requests"]
    assert 1 < taken < 400
    probe.close()
    lab.settle()
    client = lab.client(receive_bytes=2304)
    client.sendall(request() * (taken - 1))
    lab.pause(0.5)
    assert lab.engine.exchanges == 0
    client.sendall(last)
    lab.settle()
    assert lab.engine.exchanges == 1
    return client


def test_a_refusal_that_is_not_taken_at_once_still_ends(make_lab: MakeLab) -> None:
    lab = make_lab(
        path="/elsewhere", send_bytes=4608, keepalive="800ms", send_timeout="60s"
    )
    client = fill_client(lab, b"GET nonsense\r\n\r\n")

    lab.pause(0.9)
    assert lab.engine.exchanges == 1

    assert b"HTTP/1.1 400" in lab.read_end(client)
    lab.settle()
    assert lab.engine.exchanges == 0


def test_closing_finishes_exchanges_whose_client_does_not_read(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(path="/elsewhere", send_bytes=4608)
    fill_client(lab, request("/elsewhere"))

    lab.engine.close()

    assert lab.row["exchanges"] == 0


# Accounts.


def test_a_retry_that_goes_well_is_no_fault(make_lab: MakeLab) -> None:
    lab = make_lab(endpoints=2, retries=1)
    lab.services[0].close()
    client = lab.client()
    for _ in range(2):
        client.sendall(request())
        lab.until(
            lambda: is_readable(lab.services[1]) or lab.row["upstream_connections"],
            "a request",
        )
        lab.settle()
        if is_readable(lab.services[1]):
            service = lab.accept(1)
        lab.answer(client, service)

    assert lab.row["retries"] >= 1
    assert lab.row["faults"] == 0


# Draining.


def test_a_client_whose_answer_had_begun_is_let_go_soon(make_lab: MakeLab) -> None:
    lab = make_lab(keepalive="60s")
    client = lab.client()
    client.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    service.sendall(OK[:-1])
    lab.read(client, b"o")
    lab.engine.drain()
    service.sendall(OK[-1:])

    assert lab.read_end(client) == b"k"
    assert lab.engine.is_drained()


# Time that a client is given for its body.


def test_a_body_that_waited_for_an_endpoint_has_its_whole_time(
    make_lab: MakeLab,
) -> None:
    upstream = {"upstream_max": 1, "queue": 4, "queue_timeout": "60s"}
    lab = make_lab(upstream=upstream, body_timeout="400ms")
    first = lab.client()
    first.sendall(request())
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    second = lab.client()
    second.sendall(request(method="POST", body=b"late")[:-4])
    lab.settle()
    lab.pause(0.3)
    service.sendall(OK)
    lab.read(first, b"ok")
    lab.pause(0.2)
    second.sendall(b"late")
    lab.read(service, b"late")
    service.sendall(OK)

    assert lab.read(second, b"ok").startswith(b"HTTP/1.1 200")


# The object budget.


def test_a_plain_request_makes_no_python_object(make_lab: MakeLab) -> None:
    lab = make_lab()
    client = lab.client()
    service = lab.serve(client)
    plain = request()
    poll = lab.engine.poll
    into = bytearray(4096)

    def serve(n: int) -> int:
        for _ in range(n):
            client.sendall(plain)
            poll()
            service.recv_into(into)
            service.sendall(OK)
            poll()
            client.recv_into(into)
        return sys.getallocatedblocks()

    serve(100)
    gc.collect()
    gc.disable()
    try:
        before = serve(1)
        after = serve(1000)
    finally:
        gc.enable()

    assert lab.row["requests"] == 1102
    assert abs(after - before) <= 4


# Turns.


def test_a_client_that_pipelines_waits_its_turn_like_others(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    lab = make_lab(path="/elsewhere", log_fd=os.open(log, os.O_WRONLY | os.O_CREAT))
    many, other = lab.client(), lab.client()
    lab.settle()
    many.sendall(request() * 2000)
    other.sendall(request("/other"))
    lab.read(other, b"request\n")
    lab.settle()
    lab.engine.flush_log()
    lab.until(lambda: lab.engine.log_state()[2], "the log to be written")

    lines = log.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if "/other" in line)

    assert len(lines) == 2001
    assert place < 300


def test_bytes_sent_in_hope_of_a_tunnel_are_no_request(make_lab: MakeLab) -> None:
    lab = make_lab(retries=0)
    lab.services[0].close()
    client = lab.client()
    client.sendall(UPGRADE + request("/smuggled"))
    lab.settle()

    answer = lab.read_end(client)

    assert answer.startswith(b"HTTP/1.1 502") or answer.startswith(b"HTTP/1.1 503")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert lab.row["requests"] == 1


def test_bytes_that_come_after_an_upgrade_is_asked_for_are_no_request(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client = lab.client()
    client.sendall(UPGRADE)
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    client.sendall(request("/smuggled"))
    lab.settle()
    service.sendall(OK)

    answer = lab.read_end(client)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert lab.row["requests"] == 1


def test_a_listener_that_cannot_be_watched_again_is_tried_again(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(path="/elsewhere")
    fd = lab.listener.fileno()
    client = lab.client()
    spare = os.dup(fd)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        lab.poll()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert lab.engine.connections == 0
    os.close(fd)
    lab.pause(0.15)
    os.dup2(spare, fd)
    os.close(spare)
    client.sendall(request())

    assert lab.read(client, b"request\n").startswith(b"HTTP/1.1 404")


# System calls.

ALONE = """
import sys
sys.path.insert(0, {tests!r})
from support.lab import OK, UPGRADE, Lab, request
lab = Lab()
client, service = lab.ask()
service.sendall(OK)
lab.read(client, b"ok")
for _ in range({n}):
    client.sendall(request())
    lab.read(service, b"\\r\\n\\r\\n")
    service.sendall(OK)
    lab.read(client, b"ok")
lab.close()
"""


def waits_for(n: int, trace: Path) -> int:
    """How often `n` requests of one client, and what surrounds them, ask epoll."""
    script = ALONE.format(tests=str(Path(__file__).parents[3]), n=n)
    command = ["strace", "-f", "-e", "trace=epoll_wait,epoll_pwait", "-o", str(trace)]
    ran = subprocess.run([*command, sys.executable, "-c", script], check=False)
    if ran.returncode:
        pytest.skip("strace may not trace here")
    return trace.read_text().count("EPOLLIN")


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_one_client_alone_costs_one_epoll_wait_a_wake_up(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    few = waits_for(10, trace)
    all_few = trace.read_text().count("epoll_wait(")
    many = waits_for(110, trace)
    all_many = trace.read_text().count("epoll_wait(")

    assert many - few == 200, "a wake-up for the request, one for the answer"
    assert all_many - all_few == many - few
