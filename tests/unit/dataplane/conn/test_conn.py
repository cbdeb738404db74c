"""How connections end: what was read arrives, and no cut looks like an end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable

import pytest
from support import addresses
from support.lab import OK, Lab, is_readable, request

MakeLab = Callable[..., Lab]

SMALL = {"send_bytes": 4608}
LENGTH_50 = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8388608\r\n\r\n"
OLD_CLIENT = b"GET / HTTP/1.0\r\nHost: test\r\n\r\n"


def pour(lab: Lab, into: socket.socket, size: int) -> bytes:
    """Write `size` bytes while the engine takes them."""
    data = bytes(range(256)) * (size // 256)
    into.setblocking(False)
    rest = data
    while rest:
        try:
            rest = rest[into.send(rest) :]
        except BlockingIOError:
            assert lab.is_due(), f"{len(rest)} bytes are not taken"
        lab.settle(0)
    return data


# Tunnels.


def test_the_last_words_of_a_service_arrive_before_its_reset(make_lab: MakeLab) -> None:
    lab = make_lab()
    client, service = lab.tunnel()
    service.sendall(b"\x88\x06\x03\xe8bye!")
    addresses.reset(service)

    assert lab.read_any_end(client) == (b"\x88\x06\x03\xe8bye!", "reset")


def test_the_last_words_of_a_client_arrive_before_its_reset(make_lab: MakeLab) -> None:
    lab = make_lab()
    client, service = lab.tunnel()
    client.sendall(b"\x88\x06\x03\xe8bye!")
    addresses.reset(client)

    assert lab.read_any_end(service) == (b"\x88\x06\x03\xe8bye!", "reset")


def test_what_stands_in_queues_arrives_before_a_reset(make_lab: MakeLab) -> None:
    lab = make_lab(**SMALL)
    client, service = lab.tunnel()
    sent = pour(lab, service, 131_072)
    addresses.reset(service)
    lab.settle()

    assert lab.row["exchanges"] == 0
    assert lab.read_any_end(client) == (sent, "reset")


def test_a_client_that_resets_is_heard_to_the_end_by_a_slow_service(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(buffer_response="64k")
    client, service = lab.tunnel(receive_bytes=4096)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sent = bytes(range(256)) * 4096
    client.setblocking(False)
    taken = client.send(sent)
    lab.settle()
    addresses.reset(client)
    lab.settle()

    data, end = lab.read_any_end(service)
    assert end == "reset"
    assert data == sent[: len(data)]
    assert taken - len(data) < 65536, "what only the client's kernel held is lost"


def test_whoever_does_not_take_the_last_words_is_let_go(make_lab: MakeLab) -> None:
    lab = make_lab(**SMALL, send_timeout="100ms")
    _client, service = lab.tunnel()
    pour(lab, service, 131_072)
    addresses.reset(service)

    lab.until(lambda: lab.row["connections"] == 0, "the client is let go")


def test_a_deadline_does_not_end_a_tunnel(make_lab: MakeLab) -> None:
    lab = make_lab(deadline="100ms")
    client, service = lab.tunnel()
    lab.pause(0.3)
    client.sendall(b"still here")

    assert lab.read(service, b"here") == b"still here"


# Cut answers.


def test_what_came_of_a_cut_answer_arrives_and_a_fin_shows_the_cut(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client, service = lab.ask()
    service.sendall(LENGTH_50 + b"hello")
    lab.settle()
    service.close()

    data, end = lab.read_any_end(client)
    assert (data[-9:], end) == (b"\r\n\r\nhello", "fin")


def test_an_answer_cut_before_its_head_was_sent_is_a_502(make_lab: MakeLab) -> None:
    lab = make_lab()
    client, service = lab.ask()
    service.sendall(LENGTH_50 + b"hello")
    service.close()

    answer = lab.read(client, b"\n")
    assert answer.startswith(b"HTTP/1.1 502")
    assert b"hello" not in answer
    assert lab.row["statuses"][5] == 1


def test_a_cut_chunked_answer_has_no_last_chunk(make_lab: MakeLab) -> None:
    lab = make_lab()
    client, service = lab.ask()
    service.sendall(CHUNKED + b"5\r\nhello\r\n")
    lab.settle()
    addresses.reset(service)

    data, end = lab.read_any_end(client)
    assert (data[-14:], end) == (b"\r\n\r\n5\r\nhello\r\n", "fin")


def test_a_reset_answer_without_a_length_is_delivered_and_then_reset(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(**SMALL)
    client, service = lab.ask(OLD_CLIENT)
    service.sendall(UNTIL_CLOSE)
    sent = pour(lab, service, 131_072)
    addresses.reset(service)

    data, end = lab.read_any_end(client)
    assert (data.partition(b"\r\n\r\n")[2] == sent, end) == (True, "reset")


@pytest.mark.parametrize("is_reset", [False, True])
def test_all_that_was_read_of_a_large_cut_answer_arrives(
    make_lab: MakeLab, is_reset: bool
) -> None:
    lab = make_lab(**SMALL, buffer_response="256k")
    client, service = lab.ask()
    service.sendall(LENGTH_50.replace(b"50", b"2000000"))
    sent = pour(lab, service, 262_144)
    lab.settle()
    addresses.reset(service) if is_reset else service.close()
    lab.settle()

    assert lab.row["exchanges"] == 0
    data, end = lab.read_any_end(client)
    assert (data.partition(b"\r\n\r\n")[2] == sent, end) == (True, "fin")


def test_a_client_that_takes_nothing_of_a_cut_answer_is_let_go(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(**SMALL, send_timeout="100ms")
    _, service = lab.ask(receive_bytes=2304)
    service.sendall(LENGTH_50.replace(b"50", b"2000000"))
    pour(lab, service, 131_072)
    service.close()

    lab.until(lambda: lab.row["connections"] == 0, "the client is let go")


def test_an_answer_whose_reader_resets_did_not_go_well(make_lab: MakeLab) -> None:
    lab = make_lab(**SMALL)
    client, service = lab.ask(receive_bytes=2304)
    service.sendall(LENGTH_50.replace(b"50", b"65536"))
    pour(lab, service, 65_536)
    lab.settle()
    assert lab.row["exchanges"] == 1
    client.recv(4096)
    addresses.reset(client)
    lab.settle()

    assert lab.row["exchanges"] == 0
    assert lab.row["faults"] == 1
    assert not is_readable(service)


def half_an_upload(lab: Lab) -> tuple[socket.socket, socket.socket]:
    client, service = lab.ask(UPLOAD)
    client.sendall(b"half!")
    lab.read(service, b"half!")
    return client, service


def test_who_stops_an_upload_by_a_fin_keeps_what_came_of_the_answer(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client, service = half_an_upload(lab)
    service.sendall(LENGTH_50 + b"early")
    lab.settle()
    client.shutdown(socket.SHUT_WR)

    data, end = lab.read_any_end(client)
    assert (data[-9:], end) == (b"\r\n\r\nearly", "fin")
    assert lab.read_any_end(service)[1] == "reset"


def test_a_request_cut_by_a_fin_ends_in_one(make_lab: MakeLab) -> None:
    lab = make_lab()
    client, service = half_an_upload(lab)
    client.shutdown(socket.SHUT_WR)

    assert lab.read_any_end(client) == (b"", "fin")
    assert lab.read_any_end(service)[1] == "reset"


def test_what_came_before_a_deadline_arrives(make_lab: MakeLab) -> None:
    lab = make_lab(deadline="100ms")
    client, service = lab.ask()
    service.sendall(LENGTH_50 + b"hello")

    data, end = lab.read_any_end(client)
    assert (data[-9:], end) == (b"\r\n\r\nhello", "fin")


# Lingering: the last answer can be read by who is still sending.


def test_a_refused_upload_is_drained_until_its_sender_reads(make_lab: MakeLab) -> None:
    lab = make_lab(max_body="1m")
    client = lab.client()
    client.sendall(UPLOAD)
    pour(lab, client, 8_388_608)

    data, end = lab.read_any_end(client)
    assert (data[:12], end) == (b"HTTP/1.1 413", "fin")


def test_an_answer_to_a_refused_head_survives_what_comes_late(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client = lab.client()
    client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nBad Name: x\r\n")
    lab.settle()
    for late in (b"Another: y\r\n", b"\r\n"):
        client.sendall(late)
        lab.settle()

    data, end = lab.read_any_end(client)
    assert (data[:12], end) == (b"HTTP/1.1 400", "fin")


def test_a_pipelined_request_does_not_destroy_the_last_answer(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(keepalive_requests=1)
    client, service = lab.ask()
    service.sendall(OK)
    lab.settle()
    for late in (request("/next"), request("/more")):
        client.sendall(late)
        lab.settle()

    data, end = lab.read_any_end(client)
    assert (data[-2:], end) == (b"ok", "fin")


def test_lingering_ends_with_silence(make_lab: MakeLab) -> None:
    lab = make_lab(lingering_timeout="50ms")
    client = lab.client()
    client.sendall(b"nonsense\r\n\r\n")
    lab.read_end(client)

    lab.until(lambda: lab.row["connections"] == 0, "the end of lingering")


def test_lingering_ends_in_time_though_the_client_goes_on(make_lab: MakeLab) -> None:
    lab = make_lab(lingering_time="100ms")
    client = lab.client()
    client.sendall(UPLOAD.replace(b"test", b""))
    client.setblocking(False)

    def is_gone() -> bool:
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionError):
            client.send(b"x" * 100)
        return lab.row["connections"] == 0

    lab.until(is_gone, "the end of lingering")


def test_one_lingering_client_too_many_costs_the_oldest_its_place(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    clients = [lab.client() for _ in range(513)]
    for client in clients:
        client.sendall(b"nonsense\r\n\r\n")
        lab.read_end(client)
    lab.settle()

    assert lab.row["connections"] == 512
    for client in clients[:2]:
        client.send(b"x")
    lab.settle()
    with pytest.raises(BrokenPipeError):
        clients[0].send(b"x")
    assert clients[1].send(b"x") == 1


def test_a_worker_that_goes_does_not_wait_for_lingering_clients(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    client = lab.client()
    client.sendall(b"nonsense\r\n\r\n")
    lab.read_end(client)
    lab.engine.drain()

    lab.until(lab.engine.is_drained, "the end of lingering", within_s=3)


# Readers: what counts is what a client acknowledges, not what its socket takes.


def answer_of(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size


def read_slowly(
    lab: Lab, client: socket.socket, step: int, pause_s: float, until: int
) -> int:
    """Take `step` bytes each `pause_s` until `until` or a reset; how many came."""
    taken = 0
    with contextlib.suppress(ConnectionResetError):
        while taken < until:
            lab.pause(pause_s)
            if is_readable(client):
                taken += len(client.recv(step))
    return taken


def test_a_reader_below_the_minimum_rate_is_dropped(make_lab: MakeLab) -> None:
    log_end, log_fd = os.pipe()
    lab = make_lab(
        **SMALL,
        log_fd=log_fd,
        access_log_format="json",
        send_timeout="300ms",
        min_send_rate="500kB/s",
    )
    client, service = lab.ask(receive_bytes=2304)
    service.sendall(answer_of(300_000))
    pour(lab, service, 262_144)

    assert read_slowly(lab, client, 2000, 0.02, 150_000) < 150_000
    assert lab.row["connections"] == 0
    lab.engine.flush_log()
    assert json.loads(os.read(log_end, 4096))["reason"] == "send-too-slow"
    os.close(log_end)
    os.close(log_fd)


def test_a_reader_above_the_minimum_rate_is_left_alone(make_lab: MakeLab) -> None:
    lab = make_lab(**SMALL, send_timeout="200ms", min_send_rate="5kB/s")
    client, service = lab.ask(receive_bytes=2304)
    service.sendall(answer_of(65_536))
    pour(lab, service, 65_536)

    assert read_slowly(lab, client, 2000, 0.04, 65_536) >= 65_536


def test_a_steady_reader_behind_a_full_kernel_is_not_a_silent_one(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(send_bytes=1 << 20, send_timeout="300ms")
    client, service = lab.ask(receive_bytes=16384)
    service.sendall(answer_of(3_000_000))
    service.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            service.send(bytes(1 << 20))
            lab.settle(0)

    # The kernel wants a third of its two megabytes free before it takes more.
    assert read_slowly(lab, client, 8000, 0.02, 500_000) >= 500_000


def test_an_answer_that_only_the_kernel_holds_is_not_held_for_ever(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(send_bytes=1 << 20, send_timeout="100ms", keepalive="60s")
    client, service = lab.ask(receive_bytes=2304)
    service.sendall(answer_of(262_144))
    pour(lab, service, 262_144)
    lab.settle()
    assert lab.row["exchanges"] == 0
    assert lab.row["connections"] == 1

    lab.until(lambda: lab.row["connections"] == 0, "the client is let go")
    assert lab.read_any_end(client)[1] == "reset"


def test_an_idle_client_that_has_all_its_answer_stays(make_lab: MakeLab) -> None:
    lab = make_lab(send_timeout="50ms", keepalive="60s")
    client, service = lab.ask()
    service.sendall(OK)
    lab.read(client, b"ok")
    lab.pause(0.3)

    assert lab.row["connections"] == 1


def test_an_idle_time_ends_no_answer_that_is_still_read(make_lab: MakeLab) -> None:
    lab = make_lab(
        send_bytes=1 << 20,
        send_timeout="1s",
        keepalive="50ms",
        lingering_timeout="50ms",
    )
    client, service = lab.ask(receive_bytes=16384)
    service.sendall(answer_of(262_144))
    pour(lab, service, 262_144)

    assert read_slowly(lab, client, 8000, 0.01, 262_144) >= 262_144
    lab.until(lambda: lab.row["connections"] == 0, "the end of an idle client")


def test_the_last_answer_of_a_slow_reader_stays_ours_until_it_is_read(
    make_lab: MakeLab,
) -> None:
    lab = make_lab(send_bytes=65536, send_timeout="200ms")
    data = request("/", "GET", b"", "Connection: close")
    client, service = lab.ask(data, receive_bytes=2304)
    service.sendall(answer_of(262_144))
    pour(lab, service, 262_144)
    while lab.row["exchanges"]:
        client.recv(4096)
        lab.settle(0)
    assert lab.row["connections"] == 1

    lab.until(lambda: lab.row["connections"] == 0, "the client is let go")
    assert lab.read_any_end(client)[1] == "reset"
