"""Requests that a listener refuses by their method, before any route is looked for."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from support.lab import OK, Lab, request

from fastgate.config.methods import FORWARDED

MakeLab = Callable[..., Lab]
COMMON = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"


def refusing(make_lab: MakeLab, *methods: str, **settings: object) -> Lab:
    return make_lab(listener={"refused_methods": list(methods)}, **settings)


def answer(lab: Lab, client: socket.socket, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Send `data`: status, Allow and body of the gateway's own answer."""
    client.sendall(data)
    head, _, body = lab.read(client, b"\n").partition(b"\r\n\r\n")
    fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:])
    assert int(fields[b"Content-Length"]) == len(body) or not body
    return head.split()[1], fields.get(b"Allow", b"-").strip(), body


def passes(lab: Lab, client: socket.socket, data: bytes) -> bool:
    """Whether an endpoint is asked, and its answer comes."""
    client.sendall(data)
    service = lab.accept()
    lab.read(service, b"\r\n\r\n")
    service.sendall(OK)
    return lab.read(client, b"ok").startswith(b"HTTP/1.1 200")


def test_a_known_method_that_is_named_is_refused_and_the_connection_kept(
    make_lab: MakeLab,
) -> None:
    lab = refusing(make_lab, "DELETE", "PROPFIND")
    client = lab.client()

    for method in ("DELETE", "PROPFIND"):
        assert answer(lab, client, request(method=method)) == (
            b"405",
            b"GET, HEAD, POST, PUT, OPTIONS, PATCH",
            b"405 this method is not allowed (refused_methods)\n",
        )
    assert passes(lab, client, request())


def test_head_is_refused_without_a_body(make_lab: MakeLab) -> None:
    lab = refusing(make_lab, "HEAD")
    client = lab.client()

    status, allow, body = answer(lab, client, request(method="HEAD"))

    assert (status, body) == (b"405", b"")
    assert b"HEAD" not in allow
    assert passes(lab, client, request())


def test_a_body_behind_a_refused_head_is_never_taken_for_a_request(
    make_lab: MakeLab,
) -> None:
    lab = refusing(make_lab, "POST")
    client = lab.client()
    inner = request("/inner")

    status, _, _ = answer(lab, client, request("/", "POST", inner))

    assert status == b"405"
    assert lab.read_end(client) == b""
    assert lab.row["requests"] == 1


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 5, 9])
def test_an_unknown_method_is_405_where_it_is_named_and_501_elsewhere(
    make_lab: MakeLab, cut: int
) -> None:
    lab = refusing(make_lab, "BREW", "X" * 32, "SOURCE", "DESCRIBE")
    expected = {
        "BREW": b"405",
        "X" * 32: b"405",
        "SOURCE": b"405",
        "DESCRIBE": b"405",
        "brew": b"501",
        "BRE": b"501",
        "BREWS": b"501",
        "X" * 33: b"501",
        "FLUSH": b"501",
    }
    for method, status in expected.items():
        data = request(method=method)
        client = lab.client()
        client.sendall(data[:cut])
        lab.settle()
        found = answer(lab, client, data[cut:])
        assert found[:2] == (status, COMMON if status == b"405" else b"-"), method
        assert lab.read_end(client) == b""


def test_what_is_no_request_line_is_400_whatever_is_named(make_lab: MakeLab) -> None:
    lab = refusing(make_lab, "FOO")

    assert answer(lab, lab.client(), b"FOO\r\n\r\n")[0] == b"400"
    assert answer(lab, lab.client(), b"F\x01O / HTTP/1.1\r\n\r\n")[0] == b"400"


def test_allow_tells_of_trace_where_it_is_passed_on(make_lab: MakeLab) -> None:
    connect = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"
    off, on = make_lab(), make_lab(trace=True)
    named = refusing(make_lab, "TRACE", "GET", trace=True)

    assert answer(off, off.client(), connect)[1] == COMMON
    assert answer(on, on.client(), connect)[1] == COMMON + b", TRACE"
    assert answer(named, named.client(), connect)[1] == COMMON[5:]
    assert b"(trace = off)" in answer(off, off.client(), request(method="TRACE"))[2]
    assert passes(on, on.client(), request(method="TRACE"))
    refused = answer(named, named.client(), request(method="TRACE"))[2]
    assert b"(refused_methods)" in refused


def test_allow_is_empty_where_nothing_is_left(make_lab: MakeLab) -> None:
    lab = refusing(make_lab, *FORWARDED)

    for method in FORWARDED:
        client = lab.client()
        assert answer(lab, client, request(method=method))[:2] == (b"405", b"")


def test_the_longest_server_header_leaves_room_for_an_answer(
    make_lab: MakeLab,
) -> None:
    lab = refusing(make_lab, "PUT", server_header="x" * 256)

    assert answer(lab, lab.client(), request(method="PUT"))[0] == b"405"


def test_a_refused_method_is_told_with_listener_fault_and_request(
    make_lab: MakeLab,
) -> None:
    lab = refusing(make_lab, "PUT", "FOO")
    for method in ("PUT", "FOO", "TRACE", "BAR"):
        answer(lab, lab.client(), request("/x", method))

    incidents, lost = lab.engine.take_incidents()

    told = [(one[2], one[3], one[7]) for one in incidents]
    assert told == [
        (0, "method-refused", b"PUT /x HTTP/1.1"),
        (0, "method-refused", b"FOO"),
        (0, "method-trace", b"TRACE /x HTTP/1.1"),
    ]
    assert lost == 0
