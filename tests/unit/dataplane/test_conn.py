"""How connections end: what was read arrives, and no cut looks like an end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from support import addresses
from support.lab import Lab, is_readable, request

MakeLab = Callable[..., Lab]

SMALL = {"send_bytes": 4608}
LENGTH_50 = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
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
