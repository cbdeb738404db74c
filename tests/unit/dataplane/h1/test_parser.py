"""Heads and chunked bodies: what is read and refused, and that cuts change nothing.

Every refusal stands in one of the tables below beside its fault, and every entry of
every table is also run cut into pieces (see the split tests at the end).
"""

import contextlib
import random
import re

import h11
import httptools
import parser_probe as probe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgate.config.methods import FORWARDED

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
Verdict = tuple[str, int, dict | None]


def read(data: bytes, cuts: list[int] | None = None, **options: object) -> Verdict:
    """Read one head from `data` as a connection does, arriving in pieces."""
    response = bool(options.pop("response", False))
    wire = probe.Wire(response, **options)
    already = 0
    for cut in sorted({*(cuts or []), len(data)}):
        verdict = wire.head(data[:cut], already)
        if verdict[0] != "partial":
            return verdict
        already = cut
    return verdict


def request(
    *lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"a"
) -> bytes:
    """A request head; Host goes first unless it is empty."""
    hosts = [b"Host: " + host] if host else []
    return b"\r\n".join([start, *hosts, *lines, b"", b""])


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


def head_of(data: bytes, **options: object) -> dict:
    fault, consumed, head = read(data, **options)
    assert fault == "none"
    assert head is not None
    assert consumed <= len(data)
    return head


def dropped(head: dict) -> set[bytes]:
    return {name for name, _, _, is_dropped in head["fields"] if is_dropped}


def post(*lines: bytes) -> bytes:
    return request(*lines, start=b"POST / HTTP/1.1")


# --- what is read


def test_a_request_head_is_read_whole() -> None:
    data = request(
        b"Accept:  text/html \t",
        b"Empty:",
        b"Obs: \xe9\xff",
        start=b"PUT /a/../b?c=d HTTP/1.1",
        host=b"Example.COM:8080",
    )
    fault, consumed, head = read(data + b"GET / HTTP/1.1\r\n")

    assert fault == "none"
    assert consumed == len(data)
    assert head["method"] == b"PUT"
    assert head["line"] == b"PUT /a/../b?c=d HTTP/1.1"
    assert head["target"] == b"/a/../b?c=d"
    assert (head["path"], head["query"]) == (b"/b", b"?c=d")
    assert (head["host"], head["authority"]) == (b"example.com", b"example.com:8080")
    assert [field[:2] for field in head["fields"]] == [
        (b"Host", b"Example.COM:8080"),
        (b"Accept", b"text/html"),
        (b"Empty", b""),
        (b"Obs", b"\xe9\xff"),
    ]
    assert head["field_of"][probe.H_HOST] == 0
    assert head["field_of"][probe.H_COOKIE] == -1
    assert head["minor"] == 1
    assert head["content_length"] == -1
    assert head["idempotent"]
    assert head["keep_alive"]
    assert not head["has_body"]


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_empty_lines_before_a_request_are_skipped_and_counted(lines: int) -> None:
    data = b"\r\n" * lines + request()
    fault, consumed, head = read(data)

    assert (fault, consumed) == ("none", len(data))
    assert head["line"] == b"GET / HTTP/1.1"


def test_nothing_is_partial() -> None:
    assert probe.Wire().head(b"") == ("partial", 0, None)


def test_the_methods_that_the_library_knows_are_forwarded_or_refused_by_name() -> None:
    """FORWARDED is what the bound llhttp knows, less what has its own fault."""
    known = probe.methods_of_llhttp()
    faults = {name: read(request(start=name + b" / HTTP/1.1"))[0] for name in known}

    forwarded = {name.decode() for name, fault in faults.items() if fault == "none"}
    others = set(faults.values()) - {"none"}
    assert forwarded == set(FORWARDED)
    assert others == {"method-connect", "method-unknown", "version"}
    assert faults[b"CONNECT"] == "method-connect"
    assert faults[b"PRI"] == "version"
    assert faults[b"SOURCE"] == faults[b"DESCRIBE"] == "method-unknown"


@pytest.mark.parametrize("method", [name.encode() for name in FORWARDED])
def test_methods_of_http_and_webdav_are_read(method: bytes) -> None:
    head = head_of(request(start=method + b" /x HTTP/1.1"))

    assert head["method"] == method
    assert head["idempotent"] == (
        method
        in b"DELETE GET HEAD PUT OPTIONS TRACE PROPFIND SEARCH REPORT QUERY".split()
    )


@pytest.mark.parametrize(
    ("start", "lines", "keep_alive"),
    [
        (b"GET / HTTP/1.1", [], True),
        (b"GET / HTTP/1.1", [b"Connection: close"], False),
        (b"GET / HTTP/1.1", [b"Connection: Close, TE"], False),
        (b"GET / HTTP/1.1", [b"Connection: keep-alive"], True),
        (b"GET / HTTP/1.1", [b"Connection: keep-alive, close"], False),
        (b"GET / HTTP/1.1", [b"Connection: x", b"Connection: close"], False),
        (b"GET / HTTP/1.1", [b"Connection: closed"], True),
        (b"GET / HTTP/1.1", [b"Connection:"], True),
        (b"GET / HTTP/1.1", [b"Connection: , ,"], True),
        (b"GET / HTTP/1.0", [], False),
        (b"GET / HTTP/1.0", [b"Connection: Keep-Alive"], True),
        (b"GET / HTTP/1.0", [b"Connection: keep-alive,close"], False),
    ],
)
def test_keep_alive_follows_version_and_connection(
    start: bytes, lines: list[bytes], keep_alive: bool
) -> None:
    assert head_of(request(*lines, start=start))["keep_alive"] == keep_alive


@pytest.mark.parametrize("minor", range(2, 10))
def test_a_later_version_of_http_1_is_read_as_1_1(minor: int) -> None:
    """RFC 9110 section 2.5."""
    start = b"POST /a HTTP/1.%d" % minor
    head = head_of(request(b"Transfer-Encoding: chunked", start=start))

    assert (head["minor"], head["keep_alive"], head["chunked"]) == (1, True, True)
    assert head["line"] == start
    assert read(request(start=start, host=b""))[0] == "bad-host"


def test_http_1_0_may_come_without_host() -> None:
    head = head_of(request(start=b"GET /a HTTP/1.0", host=b""))

    assert head["minor"] == 0
    assert (head["host"], head["authority"]) == (b"", b"")


@pytest.mark.parametrize(
    ("start", "host", "path", "query", "seen"),
    [
        (b"GET http://a.b/x?y HTTP/1.1", b"a.b", b"/x", b"?y", b"a.b"),
        (b"GET http://A.b:80/x HTTP/1.1", b"a.B", b"/x", b"", b"a.b"),
        (b"GET http://a.b/x HTTP/1.1", b"a.b:80", b"/x", b"", b"a.b"),
        (b"GET https://a.b:443/ HTTP/1.1", b"a.b", b"/", b"", b"a.b"),
        (b"GET HTTP://a.b HTTP/1.1", b"a.b", b"/", b"", b"a.b"),
        (b"GET http://a.b?q=1 HTTP/1.1", b"a.b", b"/", b"?q=1", b"a.b"),
        (b"GET http://a.b/x/../y HTTP/1.1", b"a.b", b"/y", b"", b"a.b"),
        (b"OPTIONS http://a.b HTTP/1.1", b"a.b", b"*", b"", b"a.b"),
        (b"OPTIONS * HTTP/1.1", b"a.b", b"*", b"", b"a.b"),
        (b"GET http://a.b/x HTTP/1.0", b"", b"/x", b"", b"a.b"),
        (b"GET http://a.b/x HTTP/1.1", b"other", b"/x", b"", b"a.b"),
        (b"GET http://a.b:81/x HTTP/1.1", b"a.b", b"/x", b"", b"a.b"),
        (b"GET http://a.b:443/x HTTP/1.1", b"a.b", b"/x", b"", b"a.b"),
    ],
)
def test_every_form_of_target_gives_one_host_and_path(
    start: bytes, host: bytes, path: bytes, query: bytes, seen: bytes
) -> None:
    head = head_of(request(start=start, host=host))

    assert (head["path"], head["query"], head["host"]) == (path, query, seen)


@pytest.mark.parametrize(
    ("lines", "length", "chunked"),
    [
        ([b"Content-Length: 0"], 0, False),
        ([b"Content-Length: 12 "], 12, False),
        ([b"Content-Length: 007"], 7, False),
        ([b"Content-Length: 999999999999999999"], 10**18 - 1, False),
        ([b"Transfer-Encoding: chunked"], -1, True),
        ([b"Transfer-Encoding:\tChunked \t"], -1, True),
    ],
)
def test_framing_is_a_length_or_chunks(
    lines: list[bytes], length: int, chunked: bool
) -> None:
    head = head_of(post(*lines))

    assert (head["content_length"], head["chunked"]) == (length, chunked)
    assert head["has_body"] == (chunked or length > 0)


HOP_BY_HOP = [
    b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authenticate",
    b"Proxy-Authorization", b"TE", b"Trailer", b"Upgrade", b"HTTP2-Settings",
]  # fmt: skip


@pytest.mark.parametrize("name", HOP_BY_HOP)
@pytest.mark.parametrize("fold", [bytes.lower, bytes.upper])
def test_hop_by_hop_fields_are_dropped(name: bytes, fold) -> None:
    assert dropped(head_of(request(fold(name) + b": x"))) == {fold(name)}
    assert dropped(head_of(response(fold(name) + b": x"), response=True)) == {
        fold(name)
    }


def test_transfer_encoding_is_dropped_and_length_and_host_are_the_writers() -> None:
    assert dropped(head_of(post(b"Transfer-Encoding: chunked"))) == {
        b"Transfer-Encoding"
    }
    assert dropped(head_of(post(b"Content-Length: 1"))) == set()


def test_every_field_that_connection_lists_is_dropped() -> None:
    head = head_of(
        request(
            b"X-Real-User: 1",
            b"connection: x-real-user ,, Content-Type",
            b"X-Real-User: 2",
            b"Content-Type: a",
            b"X-Real-Users: 3",
            b"Connection: Other, x-b",
            b"X-B: 4",
            b"Server: s",
        )
    )

    assert dropped(head) == {
        b"X-Real-User", b"connection", b"Content-Type", b"Connection", b"X-B",
    }  # fmt: skip


def test_a_known_name_that_connection_lists_is_dropped_too() -> None:
    head = head_of(request(b"Connection: referer", b"Referer: x", b"Referer: y"))

    assert [f[0] for f in head["fields"] if f[3]] == [
        b"Connection", b"Referer", b"Referer",
    ]  # fmt: skip


PLAIN = [b"a_b", b"_", b"Content-Type_", b"accept_encoding-x", b"x" * 90 + b"_"]
RULED = [
    b"X_Forwarded_For", b"x_forwarded-for", b"Content_Length", b"TRANSFER_ENCODING",
    b"X_Request_ID", b"X_Real-IP", b"True_Client_IP", b"User_Agent",
    b"X_Forwarded_Client_Cert_Chain_And_" + b"a_long_tail_" * 5,
]  # fmt: skip


@pytest.mark.parametrize("name", [*PLAIN, *RULED])
def test_a_name_with_an_underscore_is_dropped_where_it_reads_as_one_with_a_rule(
    name: bytes,
) -> None:
    data = request(name + b": 1")

    assert dropped(head_of(data)) == ({name} if name in RULED else set())
    assert dropped(head_of(data, underscores="drop")) == {name}
    assert dropped(head_of(data, underscores="pass")) == set()
    assert dropped(head_of(response(name + b": 1"), response=True)) == set()


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ([b"Connection: upgrade", b"Upgrade: websocket"], True),
        ([b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"], True),
        ([b"Upgrade: websocket"], False),
        ([b"Connection: upgrade"], False),
        ([b"Connection: upgrade", b"Upgrade:"], False),
        ([b"Connection: upgrade", b"Upgrade: h2c"], False),
        ([b"Connection: upgrade", b"Upgrade: websocket, H2C"], False),
        ([b"Connection: upgrade", b"Upgrade: a", b"Upgrade: b"], False),
        (
            [b"Connection: upgrade", b"Upgrade: websocket", b"HTTP2-Settings: x"],
            False,
        ),
        (
            [b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1"],
            True,
        ),
        (
            [b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 0"],
            True,
        ),
        (
            [
                b"Connection: upgrade",
                b"Upgrade: websocket",
                b"Transfer-Encoding: chunked",
            ],
            True,
        ),
    ],
)
def test_upgrade_needs_both_fields_and_another_protocol_than_h2c(
    lines: list[bytes], upgrade: bool
) -> None:
    head = head_of(post(*lines))

    assert head["upgrade"] == upgrade
    if upgrade:
        assert head["upgrade_value"] == b"websocket"


def test_http_1_0_does_not_upgrade() -> None:
    lines = [b"Connection: upgrade", b"Upgrade: websocket"]

    assert not head_of(request(*lines, start=b"GET / HTTP/1.0"))["upgrade"]


@pytest.mark.parametrize(
    ("start", "lines"),
    [
        (b"POST / HTTP/1.1", [b"Expect: 100-continue"]),
        (b"POST / HTTP/1.1", [b"Expect: 100-Continue"]),
        (b"POST / HTTP/1.1", [b"Expect: 100-continue"] * 2),
        (b"POST / HTTP/1.0", [b"Expect: 100-continue"]),
    ],
)
def test_an_expectation_of_100_continue_is_let_through(
    start: bytes, lines: list[bytes]
) -> None:
    head = head_of(request(*lines, b"Content-Length: 1", start=start))
    names = [field[0] for field in head["fields"]]

    assert names.count(b"Expect") == len(lines)


# --- what is refused

ALL_BAD: list[tuple[str, bytes]] = []


def bad(fault: str, *messages: bytes) -> pytest.MarkDecorator:
    """Parametrise by refused requests, and keep them for the split tests."""
    ALL_BAD.extend((fault, message) for message in messages)
    return pytest.mark.parametrize("data", messages)


@bad(
    "bad-framing",
    post(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
    post(b"Transfer-Encoding: chunked", b"Content-Length: 1"),
    post(b"Content-Length: 1", b"Content-Length: 1"),
    post(b"Content-Length: 1", b"Content-Length: 2"),
    post(b"Content-Length: 1, 1"),
    post(b"Content-Length: +1"),
    post(b"Content-Length: -1"),
    post(b"Content-Length: 1_0"),
    post(b"Content-Length: 0x1"),
    post(b"Content-Length: 1 1"),
    post(b"Content-Length:"),
    post(b"Content-Length:  "),
    post(b"Content-Length: 18446744073709551616"),
    post(b"Content-Length: 9223372036854775808"),
    post(b"Content-Length: x"),
)
def test_a_doubtful_length_is_refused(data: bytes) -> None:
    assert read(data)[0] == "bad-framing"


@bad(
    "bad-framing",
    post(b"Transfer-Encoding: xchunked"),
    post(b"Transfer-Encoding: chunkedx"),
    post(b"Transfer-Encoding: identity"),
    post(b"Transfer-Encoding: identity, chunked"),
    post(b"Transfer-Encoding: chunked, gzip"),
    post(b"Transfer-Encoding: chunked, chunked"),
    post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
    post(b"Transfer-Encoding: ,chunked"),
    post(b"Transfer-Encoding: chunked,"),
    post(b"Transfer-Encoding: gzip,, chunked"),
    post(b"Transfer-Encoding: gzip"),
    post(b"Transfer-Encoding: chunked;a=b"),
    post(b'Transfer-Encoding: "chunked"'),
    post(b"Transfer-Encoding: chunked chunked"),
    post(b"Transfer-Encoding:"),
    request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"),
)
def test_a_transfer_coding_that_does_not_end_in_one_chunked_is_refused(
    data: bytes,
) -> None:
    assert read(data)[0] == "bad-framing"


@bad(
    "transfer-coding",
    post(b"Transfer-Encoding: gzip, chunked"),
    post(b"Transfer-Encoding: a,b,\tchunked"),
)
def test_a_transfer_coding_besides_chunked_is_not_implemented(data: bytes) -> None:
    assert read(data)[0] == "transfer-coding"


@bad(
    "bad-request",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
    b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n" * 5 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
)
def test_a_line_ends_in_cr_lf_and_nothing_else(data: bytes) -> None:
    assert read(data)[0] == "bad-request"


@bad(
    "bad-request",
    request(b"A: b", b" c"),
    request(b"A: b", b"\tc"),
    request(b"A:", b" c"),
    request(b" A: b"),
    b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n",
    request(b"A : b"),
    request(b"A\t: b"),
    request(b"Content-Length : 1"),
    request(b": b"),
    request(b"A"),
    request(b"A b: c"),
    request(b"A\x00: b"),
    request(b"\xc3\xa9: b"),
    request(b"(A): b"),
    request(b"A: \x00"),
    request(b"A: b\x01c"),
    request(b"A: b\x7f"),
    request(b"A: \x0bchunked"),
)
def test_a_malformed_field_line_is_refused(data: bytes) -> None:
    assert read(data)[0] == "bad-request"


@bad(
    "bad-host",
    request(host=b""),
    request(b"Host: a"),
    request(b"Host: b"),
    request(b"Host:", host=b""),
    request(b"Host: a", b"Host: a", start=b"GET / HTTP/1.0", host=b""),
    request(host=b"a/b@c"),
    request(host=b"a,b"),
    request(host=b"a b"),
    request(host=b"u@a"),
    request(host=b"a:0"),
    request(host=b"a:99999"),
    request(host=b"[::1"),
    request(host=b"a" * 256),
    request(start=b"GET http://a/ HTTP/1.1", host=b""),
    request(start=b"GET http://a/ HTTP/1.1", host=b"b/"),
)
def test_a_missing_doubled_or_malformed_host_is_refused(data: bytes) -> None:
    assert read(data)[0] == "bad-host"


@bad(
    "bad-target",
    request(start=b"GET * HTTP/1.1"),
    request(start=b"OPTIONS *a HTTP/1.1"),
    request(start=b"GET a:80 HTTP/1.1"),
    request(start=b"GET a HTTP/1.1"),
    request(start=b"GET ?a HTTP/1.1"),
    request(start=b"GET ftp://a/ HTTP/1.1"),
    request(start=b"GET ws://a/ HTTP/1.1"),
    request(start=b"GET http://u@a/ HTTP/1.1"),
    request(start=b"GET http:/// HTTP/1.1"),
    request(start=b"GET /a#b HTTP/1.1"),
    request(start=b"GET /#b HTTP/1.1"),
    request(start=b"GET /?a#b HTTP/1.1"),
    request(start=b"GET http://a#b HTTP/1.1"),
    request(start=b"GET /\x00 HTTP/1.1"),
    request(start=b"GET /\x80 HTTP/1.1"),
    request(start=b"GET /\xc3\xa9 HTTP/1.1"),
    request(start=b"GET /a\tb HTTP/1.1"),
    request(start=b"GET /a\x0cb HTTP/1.1"),
    request(start=b"GET /a?b\x7f HTTP/1.1"),
    request(start=b"GET /../a HTTP/1.1"),
    request(start=b"GET /%00 HTTP/1.1"),
    request(start=b"GET /%zz HTTP/1.1"),
    request(start=b"GET http://a/../b HTTP/1.1"),
)
def test_a_malformed_target_is_refused(data: bytes) -> None:
    assert read(data)[0] == "bad-target"


@bad(
    "bad-request",
    b"GET /\r\nHost: a\r\n\r\n",
    b"GET /\r\n\r\n",
    request(start=b"GET  / HTTP/1.1"),
    request(start=b"GET /  HTTP/1.1"),
    request(start=b"GET / HTTP/1.1 "),
    request(start=b" GET / HTTP/1.1"),
    request(start=b"GET\t/ HTTP/1.1"),
    request(start=b"GET / a HTTP/1.1"),
    request(start=b"GET / http/1.1"),
    request(start=b"GET / HTTP/1"),
    request(start=b"GET / HTTP/11"),
    request(start=b"GET / HTTP/1.10"),
    request(start=b"GET / HTTP/01.1"),
    request(start=b"GET / HTTP/1.x"),
    request(start=b"GET / RTSP/1.0"),
    request(start=b"DESCRIBE / RTSP/1.0"),
    request(start=b"SOURCE / ICE/1.0"),
    request(start=b"GET"),
    request(start=b"G\x00T / HTTP/1.1"),
    request(start=b"(GET) / HTTP/1.1"),
    request(start=b"G\xc3\xa9T / HTTP/1.1"),
    b"\x16\x03\x01\x02\x00\x01\x00",
)
def test_a_malformed_request_line_is_refused(data: bytes) -> None:
    assert read(data)[0] == "bad-request"


@bad(
    "version",
    request(start=b"GET / HTTP/0.9"),
    request(start=b"GET / HTTP/0.1"),
    request(start=b"GET / HTTP/2.0"),
    request(start=b"GET / HTTP/2.1"),
    request(start=b"GET / HTTP/3.1"),
    request(start=b"GET / HTTP/9.9"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
def test_another_version_is_refused(data: bytes) -> None:
    assert read(data)[0] == "version"


@bad(
    "method-unknown",
    *[
        request(start=method + b" / HTTP/1.1")
        for method in b"FOO GETX G get X-1 GE POSTPOST DESCRIBE SETUP SOURCE FLUSH"
        b" RECORD PLAY ANNOUNCE TEARDOWN GET_PARAMETER BREW".split()
    ],
    request(start=b"A" * 33 + b" / HTTP/1.1"),
)
def test_a_method_of_no_http_is_unknown(data: bytes) -> None:
    assert read(data)[0] == "method-unknown"


@bad(
    "method-connect",
    request(start=b"CONNECT a:80 HTTP/1.1"),
    request(b"Content-Length: 5", start=b"CONNECT a:80 HTTP/1.1"),
)
def test_connect_is_refused(data: bytes) -> None:
    assert read(data)[0] == "method-connect"


@bad(
    "bad-connection",
    request(b"Connection: " + b",".join(b"x%d" % i for i in range(33))),
)
def test_connection_may_not_list_names_without_end(data: bytes) -> None:
    assert read(data)[0] == "bad-connection"


@pytest.mark.parametrize(
    "name",
    b"Host Content-Length AUTHORIZATION Cookie X-Forwarded-For X-Forwarded-Proto"
    b" X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Anything"
    b" Forwarded X-Real-IP X-Request-ID Via CF-Connecting-IP True-Client-IP".split(),
)
def test_a_field_whose_loss_would_be_dangerous_stays_although_connection_lists_it(
    name: bytes,
) -> None:
    lines = [b"Connection: close, " + name]
    if name != b"Host":
        lines.append(name + b": 1")
    head = head_of(request(*lines))

    assert dropped(head) == {b"Connection"}
    assert not head["keep_alive"]


@pytest.mark.parametrize(
    "name", b"X-User User-Agent Accept Referer Date Server Set-Cookie".split()
)
@pytest.mark.parametrize("is_response", [False, True])
def test_every_other_field_that_connection_lists_stays_at_this_hop(
    name: bytes, is_response: bool
) -> None:
    write = response if is_response else request
    lines = [b"Connection: " + name.lower(), name + b": 1", b"X-Kept: 1"]

    head = head_of(write(*lines), response=is_response)
    assert dropped(head) == {b"Connection", name}


def test_framing_that_connection_lists_stays_in_force() -> None:
    head = head_of(
        post(b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked")
    )

    assert head["chunked"]


@pytest.mark.parametrize(
    ("value", "keep_alive"),
    [
        (b"keep-alive; x", True),
        (b"Keep-Alive, timeout=5", True),
        (b"a b", True),
        (b'"close"', True),
        (b"close;x", True),
        (b"\xe9", True),
        (b"timeout=5 , close", False),
        (b"a b, X-A, close", False),
    ],
)
def test_a_member_of_connection_that_is_no_name_is_passed_over(
    value: bytes, keep_alive: bool
) -> None:
    head = head_of(request(b"Connection: " + value, b"X-A: 1", b"A: 2"))

    assert head["keep_alive"] == keep_alive
    assert (b"X-A" in dropped(head)) == (b"X-A" in value)
    assert b"A" not in dropped(head)


def test_connection_may_list_as_many_names_as_the_bound() -> None:
    names = b",".join(b"x%d" % i for i in range(32))

    assert read(request(b"Connection: close," + names))[0] == "none"


@bad(
    "expectation",
    post(b"Expect: 200-ok"),
    post(b"Expect:"),
    post(b"Expect: 100-continue, x"),
    post(b"Expect: 100-continue", b"Expect: x"),
)
def test_another_expectation_is_refused(data: bytes) -> None:
    assert read(data)[0] == "expectation"


BROKEN = [
    (
        post(b"Transfer-Encoding: chunked", b"Content-Length: 1"),
        "Content-Length can't be present with Transfer-Encoding",
        b" 1\r\n\r\n",
    ),
    (request(host=b"a/b"), "Host is no host[:port] of at most 255 bytes", b"a/b"),
    (request(host=b""), "no Host in HTTP/1.1", b"GET"),
    (request(b"A : b"), "Invalid header token", b" : b"),
    (request(b"A: b", b" c"), "Unexpected whitespace after header value", b" c"),
    (request(start=b"FOO / HTTP/1.1"), "the method is not one of HTTP or WebDAV", b"F"),
    (request(b"Expect: x"), "Expect is not 100-continue", b"x\r\n"),
]


@pytest.mark.parametrize(("data", "rule", "at"), BROKEN)
def test_a_refused_head_names_the_rule_and_the_byte_that_broke_it(
    data: bytes, rule: str, at: bytes
) -> None:
    wire = probe.Wire()

    assert wire.head(data)[0] != "none"
    assert wire.rule == (rule, data.index(at))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (request(b"A: " + b"b" * 40000), "the head is larger than max_header"),
        (request(*[b"A: b"] * 128), "there are more fields than max_headers"),
        (request(start=b"GET /%s HTTP/1.1" % (b"a" * 16384)), "longer than max_target"),
        (b"\r\n" * 5 + request(), "more than 4 empty lines before the start line"),
        (request(host=b"a" * 256), "Host is no host[:port] of at most 255 bytes"),
        (request(b"Connection: " + b"a," * 33), "Connection lists more than 32 names"),
        (
            post(b"Content-Length: " + b"1" * 19),
            "Content-Length is no number of at most 18 digits",
        ),
        (
            response(b"A: " + b"b" * 40000),
            "the head is larger than max_response_header",
        ),
        (response(*[b"A: b"] * 129), "there are more fields than max_response_headers"),
        (
            response(b"Content-Length: " + b"1" * 19),
            "Content-Length is no number of at most 18 digits",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_head_past_a_limit_names_the_limit(data: bytes, rule: str) -> None:
    wire = probe.Wire(data.startswith(b"HTTP/"))

    assert wire.head(data)[0] not in {"none", "partial"}
    assert rule in wire.rule[0]
    assert wire.rule[1] < len(data)


def test_every_refused_head_names_a_rule_and_a_place_in_it() -> None:
    for data in [*(data for _, data in ALL_BAD), *BAD_RESPONSES]:
        wire = probe.Wire(data in BAD_RESPONSES)
        assert wire.head(data)[0] not in {"none", "partial"}

        rule, at = wire.rule
        assert rule, data
        assert at <= len(data)


def test_a_good_head_after_a_bad_one_names_no_rule() -> None:
    wire = probe.Wire()
    wire.head(request(host=b"a/b"))
    wire.head(request())

    assert wire.rule is None


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_of_a_name_is_a_token_character_or_refused(byte: int) -> None:
    fault = read(request(b"A" + bytes([byte]) + b"z: b"))[0]

    if byte == ord(":"):
        assert fault == "none"
    else:
        assert fault == ("none" if byte in TOKEN else "bad-request")


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_of_a_value_is_text_or_refused(byte: int) -> None:
    fault, _, head = read(request(b"A: x" + bytes([byte]) + b"z"))
    good = byte == 9 or (byte >= 32 and byte != 127)

    assert fault == ("none" if good else "bad-request")
    if good:
        assert head["fields"][1][1] == b"x" + bytes([byte]) + b"z"


@pytest.mark.parametrize("byte", range(256))
@pytest.mark.parametrize("prefix", [b"/x", b"/x?y"])
def test_each_byte_of_a_target_is_visible_ascii_or_refused(
    byte: int, prefix: bytes
) -> None:
    fault, _, _ = read(request(start=b"GET " + prefix + bytes([byte]) + b" HTTP/1.1"))
    refused = b"#" if b"?" in prefix else b"#%"

    if byte in b" \n":
        assert fault == "bad-request"
    else:
        good = 0x21 <= byte <= 0x7E and byte not in refused
        assert fault == ("none" if good else "bad-target")


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_of_a_reason_is_text_or_refused(byte: int) -> None:
    data = response(start=b"HTTP/1.1 200 O" + bytes([byte]) + b"K")
    good = byte == 9 or (byte >= 32 and byte != 127)

    assert read(data, response=True)[0] == ("none" if good else "upstream-bad-response")


# --- limits


def test_a_head_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    data = request(b"A: " + b"x" * 1000)

    assert read(data, max_head_bytes=len(data))[0] == "none"
    assert read(data, max_head_bytes=len(data) - 1)[0] == "header-too-large"


def test_an_endless_head_is_refused_as_soon_as_the_limit_is_full() -> None:
    data = request(b"A: " + b"x" * 5000)

    assert read(data[:1023], max_head_bytes=1024)[0] == "partial"
    assert read(data[:1024], max_head_bytes=1024)[0] == "header-too-large"


def test_a_start_line_that_fills_the_head_is_a_target_too_long() -> None:
    data = b"GET /" + b"a" * 2000

    assert read(data, max_head_bytes=1024)[0] == "target-too-long"


def test_a_target_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    start = b"GET /" + b"a" * 99 + b" HTTP/1.1"

    assert read(request(start=start), max_target_bytes=100)[0] == "none"
    assert read(request(start=start), max_target_bytes=99)[0] == "target-too-long"


def test_a_long_target_is_refused_before_it_ends() -> None:
    assert read(b"GET /" + b"a" * 100, max_target_bytes=100)[0] == "target-too-long"
    assert read(b"GET /" + b"a" * 99, max_target_bytes=100)[0] == "partial"


def test_fields_up_to_the_limit_are_read_and_one_more_is_not() -> None:
    lines = [b"X-%d: 1" % i for i in range(9)]

    assert read(request(*lines), max_fields=10)[0] == "none"
    assert read(request(*lines), max_fields=9)[0] == "too-many-headers"


def test_the_room_of_a_head_bounds_the_fields_whatever_is_configured() -> None:
    lines = [b"a: 1"] * 600

    assert read(request(*lines), max_fields=65535)[0] == "too-many-headers"
    assert len(head_of(request(*lines[:511]), max_fields=65535)["fields"]) == 512


# --- responses


def test_a_response_head_is_read_whole() -> None:
    data = response(b"Content-Length: 5", b"Server: x", start=b"HTTP/1.1 404 Not Found")
    fault, consumed, head = read(data + b"hello", response=True)

    assert (fault, consumed) == ("none", len(data))
    assert (head["status"], head["reason"]) == (404, b"Not Found")
    assert head["line"] == b"HTTP/1.1 404 Not Found"
    assert (head["content_length"], head["chunked"]) == (5, False)
    assert head["keep_alive"]
    assert head["path"] == b""


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"HTTP/1.1 200", b""),
        (b"HTTP/1.1 200 ", b""),
        (b"HTTP/1.1 200  x", b" x"),
        (b"HTTP/1.1 200 a b ", b"a b "),
    ],
)
def test_a_reason_may_be_missing(start: bytes, reason: bytes) -> None:
    head = head_of(response(start=start), response=True)

    assert (head["status"], head["reason"], head["line"]) == (200, reason, start)


def test_consecutive_heads_are_read_by_one_parser() -> None:
    wire = probe.Wire(True)
    interim = response(start=b"HTTP/1.1 103 Early Hints")
    final = response(b"Transfer-Encoding: chunked")

    fault, consumed, head = wire.head(interim + final)
    assert (fault, consumed, head["status"]) == ("none", len(interim), 103)
    fault, consumed, head = wire.head(final + b"0\r\n\r\n")
    assert (fault, consumed, head["status"]) == ("none", len(final), 200)
    assert wire.chunked(b"0\r\n\r\nrest") == ("none", 5, b"", True)


@pytest.mark.parametrize(
    ("status", "lines", "upgrade"),
    [
        (b"101 x", [b"Connection: upgrade", b"Upgrade: websocket"], True),
        (b"101 x", [b"Upgrade: websocket"], False),
        (b"101 x", [b"Connection: upgrade"], False),
        (b"200 x", [b"Connection: upgrade", b"Upgrade: websocket"], False),
    ],
)
def test_only_a_101_with_both_fields_grants_an_upgrade(
    status: bytes, lines: list[bytes], upgrade: bool
) -> None:
    head = head_of(response(*lines, start=b"HTTP/1.1 " + status), response=True)

    assert head["upgrade"] == upgrade


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"A: b", True),
        (b"Content-Length: 0", True),
        (b"Content-Length: 5", False),
        (b"Transfer-Encoding: chunked", False),
    ],
)
def test_no_request_follows_a_204_that_announces_a_body(
    line: bytes, kept: bool
) -> None:
    head = head_of(response(line, start=b"HTTP/1.1 204 x"), response=True)

    assert head["keep_alive"] == kept
    assert head_of(response(line, start=b"HTTP/1.1 304 x"), response=True)["keep_alive"]


def test_an_upstream_that_lists_a_field_it_may_not_only_loses_its_say() -> None:
    head = head_of(
        response(b"Connection: Content-Length, X-A, Via", b"X-A: 1", b"Via: 1.1 a"),
        response=True,
    )

    assert dropped(head) == {b"Connection", b"X-A"}


BAD_RESPONSES = [
    response(start=b"HTTP/1.1 099 x"),
    response(start=b"HTTP/1.1 1000 x"),
    response(start=b"HTTP/1.1 20 x"),
    response(start=b"HTTP/1.1 2x0 x"),
    response(start=b"HTTP/1.1 200x"),
    response(start=b"HTTP/1.1"),
    response(start=b"HTTP/2.0 200 OK"),
    response(start=b"HTTP/0.9 200 OK"),
    response(start=b"RTSP/1.0 200 OK"),
    response(start=b"ICE/1.0 200 OK"),
    response(start=b"ICY 200 OK"),
    response(start=b"http/1.1 200 OK"),
    b"\r\n" * 5 + response(),
    b"\n" + response(),
    b"<html>",
    b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
    b"HTTP/1.1 200 O\rK\r\n\r\n",
    response(b"A: b", b" c"),
    response(b"A : b"),
    response(b"A: \x00"),
    response(b"A"),
    response(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
    response(b"Transfer-Encoding: chunked", b"Content-Length: 1"),
    response(b"Content-Length: 1", b"Content-Length: 2"),
    response(b"Content-Length: 1", b"A: b", b"Content-Length: 1", b"Content-Length:"),
    response(b"Content-Length: 1", b"Content-Length: x"),
    response(b"Content-Length: 1", b"A: b", b"Transfer-Encoding: chunked"),
    response(start=b"HTTP/1.x 200 OK"),
    response(start=b"HTTP/1.10 200 OK"),
    response(start=b"HTTP/1.1\t200 OK"),
    response(start=b"HTTP/1.1 000 OK"),
    b"HTTP/1.1 200 OK\r\r\nA: b\r\n\r\n",
    b"HTTP/1.1 200\r\n A: b\r\n\r\n",
    response(b"Content-Length: 1, 1"),
    response(b"Content-Length: "),
    response(b"Content-Length: 9223372036854775808"),
    response(b"Transfer-Encoding: gzip, chunked"),
    response(b"Transfer-Encoding: chunked, gzip"),
    response(b"Transfer-Encoding: identity"),
    response(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    response(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"),
    response(b"Connection: " + b", ".join(b"x%d" % n for n in range(33))),
]
LARGE_RESPONSES = [
    response(*[b"A: b"] * 200),
    response(b"A: " + b"b" * 40000),
    b"HTTP/1.1 200 " + b"a" * 40000,
]


@pytest.mark.parametrize(
    ("data", "status", "minor", "reason"),
    [
        (response(start=b"HTTP/1.1  200 OK"), 200, 1, b"OK"),
        (response(start=b"HTTP/1.1   204"), 204, 1, b""),
        (response(start=b"HTTP/1.2 200 OK"), 200, 1, b"OK"),
        (response(start=b"HTTP/1.9 200 OK"), 200, 1, b"OK"),
        (response(start=b"HTTP/1.0 600 x"), 600, 0, b"x"),
        (response(start=b"HTTP/1.1 999 x"), 999, 1, b"x"),
        (b"\r\n" + response(), 200, 1, b"OK"),
        (b"\r\n\r\n" + response(), 200, 1, b"OK"),
    ],
)
def test_an_odd_status_line_that_says_one_thing_only_is_read(
    data: bytes, status: int, minor: int, reason: bytes
) -> None:
    fault, consumed, head = read(data + b"x", response=True)

    assert (fault, consumed) == ("none", len(data))
    assert (head["status"], head["minor"], head["reason"]) == (status, minor, reason)


def test_equal_lengths_of_a_response_are_one() -> None:
    lines = [b"Content-Length: 5", b"A: b", b"content-length: 05", b"Content-Length:5"]
    data = response(*lines)

    assert head_of(data, response=True)["content_length"] == 5
    assert read(data, list(range(len(data))), response=True) == read(
        data, response=True
    )


def test_a_response_that_lists_what_is_no_name_keeps_its_fields() -> None:
    head = head_of(response(b"Connection: a b, timeout=5", b"A: 1"), response=True)

    assert dropped(head) == {b"Connection"}


def test_a_response_head_of_64_kib_and_512_fields_is_read() -> None:
    lines = [b"A: b"] * 511
    rest = 65536 - len(response(*lines, b"B: "))
    data = response(*lines, b"B: " + b"x" * rest)
    limits = {"max_head_bytes": 65536, "max_fields": 512}

    assert len(data) == 65536
    assert read(data, response=True, **limits)[0] == "none"
    assert read(data, list(range(0, 65536, 1000)), response=True, **limits)[0] == "none"


# --- lenient responses

LENIENT = [
    (b"HTTP/1.1 200 OK\nA: b\n\n", [(b"A", b"b")]),
    (b"HTTP/1.1 200\nA: b\r\nC:d\n\n", [(b"A", b"b"), (b"C", b"d")]),
    (response(b"A: b", b" c"), [(b"A", b"b   c")]),
    (response(b"A: b", b"\tc", b" d", b"E: f"), [(b"A", b"b  \tc   d"), (b"E", b"f")]),
    (response(b"A:", b" c"), [(b"A", b"c")]),
    (response(b"A: b", b" ", b"C: d"), [(b"A", b"b"), (b"C", b"d")]),
    (b"HTTP/1.1 200 OK\nA: b\n c\n\n", [(b"A", b"b  c")]),
]


@pytest.mark.parametrize(("data", "fields"), LENIENT)
def test_a_lenient_response_may_fold_and_end_lines_in_lf(
    data: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    whole = read(data + b"rest", response=True, lenient=True)

    assert read(data + b"rest", response=True)[0] == "upstream-bad-response"
    assert whole[:2] == ("none", len(data))
    assert [field[:2] for field in whole[2]["fields"]] == fields
    for cut in range(1, len(data)):
        assert read(data + b"rest", [cut], response=True, lenient=True) == whole


def test_a_folded_field_is_one_field_wherever_its_bytes_are_cut() -> None:
    data = b"HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\n 3\r\n\r\n"

    for cut in range(1, len(data)):
        wire = probe.Wire(response=True, lenient=True, max_fields=2)
        assert wire.head(data[:cut])[0] == "partial"
        assert wire.head(data, cut)[:2] == ("none", len(data)), cut


@pytest.mark.parametrize(
    "data",
    [
        response(b"Content-Length: 1", b" 2"),
        response(b"Transfer-Encoding: chunked", b" , gzip"),
        response(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        response(b"A : b"),
        response(b"Content-Length : 5"),
        response(b"Content-Length: 5", b"Content-Length  : 6"),
        response(b"Transfer-Encoding : chunked"),
        response(b"Connection : close"),
        response(b" Content-Length: 5"),
        response(b" ", b"Content-Length: 5"),
        response(b"\tContent-Length: 5"),
        response(b"A: b\rc"),
        response(b"A: b\x00c"),
        response(b"A: b", b" \x01c"),
        b"\n" + response(),
        response(b"Content-Length: 1", b"Content-Length: 2"),
        response(b"Content-Length: 1, 1"),
        response(b"Transfer-Encoding:", b" gzip, chunked"),
        response(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"),
        response(b"A: b", b"\x0bc"),
        response(b"A: b\x7f"),
        response(b"A"),
        response(b": b"),
        b"HTTP/1.1 200 OK\r\nA\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n",
        b"HTTP/1.1 200 OK\rA: b\r\n\r\n",
        b"HTTP/1.1 200 O\x01K\n\n",
        b"HTTP/2.0 200 OK\n\n",
        b"HTTP/1.1 20 OK\n\n",
    ],
)
def test_a_lenient_response_may_not_be_ambiguous(data: bytes) -> None:
    whole = read(data, response=True, lenient=True)

    assert whole == ("upstream-bad-response", 0, None)
    assert read(data, list(range(len(data))), response=True, lenient=True) == whole


@pytest.mark.parametrize(
    "body",
    [
        # llhttp would take `LF LF` for one line end, and lose the byte behind it.
        b"0\n\nX",
        b"3\n\nab\r\n0\r\n\r\n",
        b"3;x\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nConnection : b\r\n\r\n",
    ],
)
def test_the_chunks_of_a_lenient_response_are_read_strictly(body: bytes) -> None:
    head = response(b"Transfer-Encoding: chunked")
    strict = read_body(body, head=head)

    assert strict[0] in ("bad-chunk", "bad-trailer")
    assert read_body(body, head=head, lenient=True) == strict
    assert read_body(body, list(range(len(body))), head, lenient=True) == strict


@pytest.mark.parametrize(
    "body",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"3 4\r\nabc\r\n0\r\n\r\n",
        b"3\rabc\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3;a=\x01\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_a_lenient_response_may_not_leave_open_where_a_chunk_ends(body: bytes) -> None:
    head = response(b"Transfer-Encoding: chunked")

    assert read_body(body, head=head, lenient=True)[0] == "bad-chunk"


@pytest.mark.parametrize("data", BAD_RESPONSES)
def test_a_malformed_response_is_the_upstreams_fault(data: bytes) -> None:
    assert read(data, response=True) == ("upstream-bad-response", 0, None)


@pytest.mark.parametrize("data", LARGE_RESPONSES)
def test_a_response_past_our_limits_is_told_from_a_malformed_one(data: bytes) -> None:
    assert read(data, response=True) == ("upstream-header-too-large", 0, None)


# --- names


@pytest.mark.parametrize(
    "name",
    b"Host Content-Length Transfer-Encoding Connection Keep-Alive Proxy-Connection"
    b" Proxy-Authenticate Proxy-Authorization TE Trailer Upgrade HTTP2-Settings Expect"
    b" X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port"
    b" X-Forwarded-Prefix X-Real-IP Forwarded X-Request-ID Via Server Date User-Agent"
    b" Referer Authorization Cookie".split(),
)
def test_a_known_name_is_known_in_any_case_and_nothing_close_to_it_is(
    name: bytes,
) -> None:
    known = probe.header_id(name)

    assert known not in (probe.H_OTHER, probe.H_X_FORWARDED_OTHER)
    assert probe.header_id(name.lower()) == known
    assert probe.header_id(name.upper()) == known
    for i in range(len(name)):
        for byte in TOKEN:
            near = name[:i] + bytes([byte]) + name[i + 1 :]
            if near.lower() != name.lower():
                assert probe.header_id(near) != known
        assert probe.header_id(name[:i]) != known
    assert probe.header_id(name + b"s") != known


def test_every_known_name_has_its_own_number() -> None:
    names = b"host via te date cookie server x-real-ip forwarded".split()

    assert len({probe.header_id(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"X-Forwarded-Anything", probe.H_X_FORWARDED_OTHER),
        (b"x-forwarded-", probe.H_X_FORWARDED_OTHER),
        (b"X-FORWARDED-CLIENT-CERT-AND-A-LONG-TAIL", probe.H_X_FORWARDED_OTHER),
        (b"X-Forwarded", probe.H_X_FORWARDED_OTHER),
        (b"True-Client-IP", probe.H_X_FORWARDED_OTHER),
        (b"X-Forwarder", probe.H_OTHER),
        (b"Accept", probe.H_OTHER),
        (b"a", probe.H_OTHER),
        (b"", probe.H_OTHER),
        (b"x" * 300, probe.H_OTHER),
    ],
)
def test_other_names(name: bytes, expected: int) -> None:
    assert probe.header_id(name) == expected


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_same_name_is_equality_but_for_the_case_of_ascii(a: bytes, b: bytes) -> None:
    assert probe.same_name(a, b) == (a.lower() == b.lower())
    assert probe.same_name(a, a.swapcase())


# --- chunked bodies

CHUNKED = post(b"Transfer-Encoding: chunked")


def read_body(
    data: bytes,
    cuts: list[int] | None = None,
    head: bytes = CHUNKED,
    lenient: bool = False,
) -> tuple[str, bytes, int, bool]:
    """(fault, body, bytes consumed, done) of a chunked body that comes in pieces."""
    wire = probe.Wire(head.startswith(b"HTTP/"), lenient=lenient)
    assert wire.head(head)[0] == "none"
    body = b""
    at = 0
    for cut in sorted({*(cuts or []), len(data)}):
        fault, consumed, piece, done = wire.chunked(data[at:cut])
        if fault != "none":
            return fault, b"", 0, False
        body += piece
        at += consumed
        if done:
            return "none", body, at, True
        assert at == cut
    return "none", body, at, False


GOOD_BODIES = [
    (b"0\r\n\r\n", b""),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    (b"003\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n", b"abc0123456789"),
    (b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
    (b"3;x\r\nabc\r\n0;y=z\r\n\r\n", b"abc"),
    (b"3 ;a=b\r\nabc\r\n0 \t;c\r\n\r\n", b"abc"),
    (b"3 \r\nabc\r\n0\r\n\r\n", b"abc"),
    (b"3\t\r\nabc\r\n0  \r\n\r\n", b"abc"),
    (b"1\r\nx\r\n3      \r\nabc\r\n0\r\n\r\n", b"xabc"),
    (b'3;x="\\"q;\t"\r\nabc\r\n0\r\n\r\n', b"abc"),
    (b"3\r\n\r\n\r\r\n0\r\n\r\n", b"\r\n\r"),
    (b"0\r\nX-Checksum: 1\r\nY:\r\n\r\n", b""),
    (b"2\r\nab\r\n0\r\nServer-Timing: a\r\n\r\n", b"ab"),
    (b"fF\r\n" + b"x" * 255 + b"\r\n0\r\n\r\n", b"x" * 255),
]


@pytest.mark.parametrize(("data", "body"), GOOD_BODIES)
def test_chunks_become_one_contiguous_body(data: bytes, body: bytes) -> None:
    assert read_body(data + b"GET / HT") == ("none", body, len(data), True)


BAD_CHUNKS = [
    b"x\r\n",
    b"\r\n",
    b" 3\r\nabc\r\n",
    b"3 4\r\nabc\r\n",
    b"3 \nabc\r\n",
    b"3 x\r\nabc\r\n",
    b"3;a \r\nabc\r\n",
    b"0x3\r\nabc\r\n",
    b"+3\r\nabc\r\n",
    b"-1\r\n",
    b"3\nabc\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"3\rabc\r\n",
    b"3;\nabc\r\n",
    b"3;a\nabc\r\n",
    b"3;a=b\nabc\r\n",
    b"3; a\r\nabc\r\n",
    b"3;a\x00\r\nabc\r\n",
    b'3;a="\n"\r\nabc\r\n',
    b"3;a=\x01\r\nabc\r\n",
    b"10000000000000000\r\n",
    b"fffffffffffffffff\r\n",
]


@pytest.mark.parametrize("data", BAD_CHUNKS)
def test_malformed_chunks_are_refused(data: bytes) -> None:
    assert read_body(data) == ("bad-chunk", b"", 0, False)


BAD_TRAILERS = [
    # llhttp takes framing for what it would be in a head.
    b"0\r\nContent-Length: 1\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nA b: c\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\n: x\r\n\r\n",
    b"0\r\nA: b\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\n\n",
    b"0\r\n\rx",
    b"0\r\nx\r\n\r\n",
    b"0\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
    b"0\r\nA: " + b"x" * 9000,
]  # fmt: skip


@pytest.mark.parametrize("data", BAD_TRAILERS)
def test_a_malformed_trailer_section_is_refused(data: bytes) -> None:
    assert read_body(data) == ("bad-trailer", b"", 0, False)


@pytest.mark.parametrize(
    "name",
    b"X-Checksum Content-Digest content-type Host Authorization Cookie Set-Cookie"
    b" X-Forwarded-For Connection Upgrade Trailer TE Expect Via Keep-Alive"
    b" Proxy-Authorization Forwarded X-Real-IP X-Request-ID".split(),
)
def test_every_trailer_is_dropped(name: bytes) -> None:
    data = b"2\r\nab\r\n0\r\nA: b\r\n" + name + b": x\r\n\r\n"

    assert read_body(data) == ("none", b"ab", len(data), True)
    assert read_body(data, list(range(len(data)))) == read_body(data)


@pytest.mark.parametrize(
    ("chunk", "times", "good"),
    [
        (b"1\r\nx\r\n", 1_000_000, False),
        (b"1\r\nx\r\n", 20_000, True),
        (b"1\r\nx\r\n", 20_481, False),
        (b"a\r\n0123456789\r\n", 100_000, True),
        (b"a;" + b"e" * 1022 + b"\r\n0123456789\r\n", 100, False),
        (b"a;" + b"e" * 1022 + b"\r\n0123456789\r\n", 90, True),
        (b"0;" + b"e" * 200_000, 1, False),
        (b"400\r\n" + b"x" * 1024 + b"\r\n", 1000, True),
    ],
)
def test_chunk_lines_may_cost_as_much_as_the_body_and_no_more(
    chunk: bytes, times: int, good: bool
) -> None:
    """The table of h2o's t/80http1-chunk-overhead.t among them."""
    data = chunk * times + b"0\r\n\r\n"
    step = 65536
    cuts = list(range(step, len(data), step))

    for fault, _, _, done in (read_body(data), read_body(data, cuts)):
        assert (fault, done) == (("none", True) if good else ("bad-chunk", False))


def test_upgrade_and_chunks_together_do_not_skip_the_body() -> None:
    head = post(
        b"Connection: upgrade",
        b"Upgrade: websocket",
        b"Transfer-Encoding: chunked",
    )

    assert read_body(b"3\r\nabc\r\n0\r\n\r\nGET", head=head) == (
        "none", b"abc", 13, True,
    )  # fmt: skip


def test_a_closing_message_ends_where_its_chunks_end() -> None:
    head = post(b"Connection: close", b"Transfer-Encoding: chunked")

    assert read_body(b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n", head=head)[2:] == (5, True)


def test_chunks_of_a_response_are_read_the_same() -> None:
    head = response(b"Transfer-Encoding: chunked", b"Connection: close")

    assert read_body(b"3\r\nabc\r\n0\r\n\r\n", head=head) == (
        "none", b"abc", 13, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "lenient"),
    [
        ((b"Transfer-Encoding: chunked\t",), False),
        ((b"Transfer-Encoding:\tchunked \t ",), False),
        ((b"Transfer-Encoding: chunked", b" "), True),
        ((b"Transfer-Encoding:", b" chunked", b"\t"), True),
    ],
)
def test_a_body_is_read_as_chunks_wherever_the_head_says_chunked(
    lines: tuple[bytes, ...], lenient: bool
) -> None:
    body = b"3\r\nabc\r\n0\r\n\r\n"
    heads = [response(*lines)] if lenient else [response(*lines), post(*lines)]

    for head in heads:
        assert head_of(head, response=head[:1] == b"H", lenient=lenient)["chunked"]
        assert read_body(body + b"X", head=head, lenient=lenient) == (
            "none", b"abc", len(body), True,
        )  # fmt: skip


def test_the_next_message_starts_afresh_after_a_chunked_one() -> None:
    wire = probe.Wire()
    for _ in range(3):
        assert wire.head(CHUNKED)[0] == "none"
        assert wire.chunked(b"1\r\nx") == ("none", 4, b"x", False)
        assert wire.chunked(b"\r\n0\r\nA: b\r\n\r\nG") == ("none", 13, b"", True)


# --- cuts change nothing

GOOD = [
    request(),
    b"\r\n" + request(b"Empty:", b"B:  c \t"),
    request(b"Accept: */*", b"Cookie: a=b", start=b"POST /a/./b?c HTTP/1.1"),
    post(b"Content-Length: 12", b"Connection: x-y, close", b"X-Y: 1"),
    post(b"Connection: upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"),
    request(start=b"GET http://A/b HTTP/1.1"),
    request(start=b"OPTIONS * HTTP/1.1"),
    request(start=b"GET / HTTP/1.0", host=b""),
]
GOOD_RESPONSES = [
    response(),
    response(b"Content-Length: 5", b"Connection: close"),
    response(b"A:", start=b"HTTP/1.0 404"),
    response(b"Connection: upgrade", b"Upgrade: x", start=b"HTTP/1.1 101 Switch"),
]


@pytest.mark.parametrize("data", [*GOOD, *(data for _, data in ALL_BAD)])
def test_a_request_is_judged_the_same_however_it_is_cut(data: bytes) -> None:
    whole = read(data + b"NEXT")

    assert whole[0] != "partial"
    assert read(data + b"NEXT", list(range(len(data) + 4))) == whole
    for cut in range(len(data) + 1):
        assert read(data + b"NEXT", [cut]) == whole


@pytest.mark.parametrize(
    "data", [*GOOD_RESPONSES, *(data for data in BAD_RESPONSES if len(data) < 1000)]
)
def test_a_response_is_judged_the_same_however_it_is_cut(data: bytes) -> None:
    whole = read(data, response=True)

    assert read(data, list(range(len(data))), response=True) == whole
    for cut in range(len(data) + 1):
        assert read(data, [cut], response=True) == whole


@pytest.mark.parametrize(
    "data",
    [
        *(data for data, _ in GOOD_BODIES),
        *BAD_CHUNKS,
        *(data for data in BAD_TRAILERS if len(data) < 1000),
    ],
)
def test_a_chunked_body_is_judged_the_same_however_it_is_cut(data: bytes) -> None:
    whole = read_body(data)

    assert read_body(data, list(range(len(data)))) == whole
    for cut in range(len(data) + 1):
        assert read_body(data, [cut]) == whole


PIECES = [
    b"GET", b"POST", b"FOO", b"PRI", b"CONNECT", b"DESCRIBE", b" ", b"  ", b"/", b"*",
    b"/a?b", b"http://a/", b"#", b"\\", b"\x00", b"\x80", b"HTTP/1.1", b"HTTP/1.0",
    b"HTTP/2.0", b"HTTP/1.2", b"HTTP/1.12", b"\r\n", b"\r", b"\n", b"\r\n\r\n",
    b"Host: a\r\n", b"Host:b\r\n", b"Content-Length: 1\r\n", b"Content-Length: x\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n", b"Connection: host\r\n", b"Upgrade: x\r\n",
    b"Expect: x\r\n", b"A: b\r\n", b"A : b\r\n", b" folded\r\n", b"A", b":", b"x" * 40,
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.lists(st.integers(0, 200), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_any_bytes_are_judged_the_same_however_they_are_cut(
    pieces: list[bytes], cuts: list[int], framed: bool, is_response: bool
) -> None:
    data = b"".join(pieces)
    if framed:
        start = b"HTTP/1.1 200 OK\r\n" if is_response else b"GET / HTTP/1.1\r\n"
        data = start + data + b"\r\n\r\n"
    limits = {"max_head_bytes": 128, "max_fields": 4, "max_target_bytes": 30}
    whole = read(data, response=is_response, **limits)
    cuts = [cut for cut in cuts if cut < len(data)]

    assert read(data, cuts, response=is_response, **limits) == whole
    assert read(data, list(range(len(data))), response=is_response, **limits) == whole


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([*GOOD, *(data for _, data in ALL_BAD)]),
    st.integers(0, 2**32),
)
def test_a_damaged_request_is_judged_the_same_however_it_is_cut(
    data: bytes, seed: int
) -> None:
    rng = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(damaged))
        damaged[at : at + rng.randint(0, 2)] = rng.choice(
            [b"", b"\r", b"\n", b" ", b"\t", b":", b"\x00", b"a", b"\xff", b"\r\n"]
        )
    text = bytes(damaged)
    cuts = [rng.randint(0, len(text)) for _ in range(rng.randint(1, 4))]
    limits = {"max_fields": rng.choice([2, 128]), "max_target_bytes": 8}

    assert read(text, cuts, **limits) == read(text, **limits)


CHUNK_PIECES = [
    b"0", b"1", b"3", b"a", b"\r\n", b"\r", b"\n", b"x", b"abc", b"0123456789", b";",
    b"e=f", b'"', b"0\r\n", b"\r\n\r\n", b"3\r\nabc\r\n", b"A: b\r\n", b"Host: c\r\n",
    b"Content-", b"X-Forwarded-", b": ", b"1\r\nx\r\n" * 30,
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.sampled_from(CHUNK_PIECES), max_size=14),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_any_chunked_bytes_are_judged_the_same_however_they_are_cut(
    pieces: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(pieces)
    cuts = [cut for cut in cuts if cut < len(data)]

    assert read_body(data, cuts) == read_body(data)
    assert read_body(data, list(range(len(data)))) == read_body(data)


# --- against other parsers

NAME = st.text("abcXYZ-09", min_size=1, max_size=12).map(str.encode)
VALUE = st.text("ab, ;=/\"'*9", max_size=20).map(lambda text: text.strip().encode())


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"GET", b"POST", b"DELETE", b"PUT"]),
    st.text("abc/?&=~.", max_size=12).map(str.encode),
    st.lists(st.tuples(NAME, VALUE), max_size=8),
    st.sampled_from([b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]),
)
def test_valid_requests_are_read_as_h11_reads_them(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], framing: bytes
) -> None:
    data = b"%s /%s HTTP/1.1\r\nHost: a\r\n%s" % (method, target, framing)
    data += b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n"
    fault, consumed, head = read(data)
    if fault == "bad-target":
        assert b".." in target
        return
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data)
    event = peer.next_event()

    assert fault == "none"
    assert consumed == len(data)
    assert isinstance(event, h11.Request)
    assert event.method == head["method"]
    assert event.target == head["target"]
    assert [(n.lower(), v) for n, v, _, _ in head["fields"]] == list(event.headers)


@pytest.mark.parametrize("data", GOOD)
def test_httptools_sees_the_same_names_and_values(data: bytes) -> None:
    seen: list[tuple[bytes, bytes]] = []

    class Protocol:
        def on_header(self, name: bytes, value: bytes) -> None:
            seen.append((name, value.strip(b" \t")))

    with contextlib.suppress(httptools.HttpParserUpgrade):
        httptools.HttpRequestParser(Protocol()).feed_data(data)

    assert [field[:2] for field in head_of(data)["fields"]] == seen


def test_the_tables_of_this_file_are_not_empty() -> None:
    assert len(ALL_BAD) > 150
    assert all(re.fullmatch(r"[a-z-]+", fault) for fault, _ in ALL_BAD)
