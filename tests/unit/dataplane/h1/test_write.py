"""What goes upstream, what goes back, and our own replies."""

import h11
import pytest
import write_probe as probe
from hypothesis import given
from hypothesis import strategies as st
from support.heads import fields_of, head_of, request, response
from write_probe import RequestProbe, ResponseProbe

# --- the start line and Host --------------------------------------------------


def test_request_line_is_the_canonical_path_the_raw_query_and_version_1_1():
    start, _ = head_of(
        request(method=b"DELETE", path=b"/a%20b", query=b"?c=%2F&d", minor=0)
    )

    assert start == b"DELETE /a%20b?c=%2F&d HTTP/1.1"


def test_options_of_the_whole_server_keeps_its_asterisk():
    start, _ = head_of(request(method=b"OPTIONS", path=b"*"))

    assert start == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize(
    "path", [b"/a b", b"/a\r\nX: y", b"/a\tb", b"/\x7f", b"/long/enough\x00/for/words"]
)
def test_a_target_with_a_blank_or_a_control_is_refused(path):
    assert request(path=path) == "bad-header"
    assert request(query=b"?" + path) == "bad-header"


def test_host_comes_first_and_is_the_canonical_authority():
    written = request(
        (b"A", b"1"), (b"Host", b"EXAMPLE.com."), authority=b"example.com:81"
    )

    assert written.split(b"\r\n")[1:3] == [b"Host: example.com:81", b"A: 1"]


def test_host_of_the_route_replaces_the_clients():
    _, written = head_of(request((b"Host", b"example.com"), host=b"internal:9000"))

    assert written == [(b"Host", b"internal:9000")]


def test_a_request_without_host_gets_an_empty_one():
    written = request(authority=b"", minor=0)

    assert written == b"GET / HTTP/1.1\r\nHost: \r\n\r\n"


# --- fields -------------------------------------------------------------------


def test_fields_keep_their_order_names_and_bytes():
    sent = [(b"x-B", b"1"), (b"ACCEPT", b"*/*"), (b"x-B", b"2, \t3"), (b"E", b"")]
    sent.append((b"obs", "café".encode("latin-1")))

    assert fields_of(*sent) == sent


def test_dropped_and_hop_by_hop_fields_do_not_pass():
    passed = fields_of(
        (b"X-Listed", b"1", True),
        (b"Connection", b"X-Listed"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"websocket"),
        (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"),
        (b"Accept", b"*/*"),
    )

    assert passed == [(b"Accept", b"*/*")]


def test_expect_passes_on():
    assert fields_of((b"Expect", b"100-continue")) == [(b"Expect", b"100-continue")]


BAD_VALUES = [
    b"a\r\nX: y", b"a\rb", b"a\nb", b"a\x00b", b"\x7f", b"\x1b[2J", b"1234567\n",
    b"12345678\x01", b"longer than a word\n", b"\x00 longer than a word",
]  # fmt: skip
BAD_NAMES = [b"", b"a b", b"a:b", b"a\r\nb", b"a\x00", b"na\xefve", b"\x7fabcdefgh"]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_the_writer_refuses_a_value_that_could_split_a_message(value):
    assert request((b"X", value)) == "bad-header"
    assert request(host=value) == "bad-header"
    assert request(authority=value) == "bad-header"
    assert request(rules=[("set", b"X", value)]) == "bad-header"
    assert request(own_id=value.ljust(32), request_id=True) == "bad-header"
    assert response((b"X", value)) == "upstream-bad-response"
    assert response(rules=[("add", b"X", value)]) == "upstream-bad-response"
    assert response(server=value) == "upstream-bad-response"


@pytest.mark.parametrize("name", BAD_NAMES)
def test_the_writer_refuses_a_name_that_is_no_token(name):
    assert request((name, b"1")) == "bad-header"
    assert request(rules=[("add", name, b"1")]) == "bad-header"
    assert response((name, b"1")) == "upstream-bad-response"


TCHARS = (
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


@pytest.mark.parametrize("at", range(20))
def test_every_byte_is_judged_at_every_place_of_a_word(at):
    for byte in range(256):
        text = b"a" * at + bytes([byte]) + b"b" * (19 - at)
        for cut in (text, text[: at + 1]):
            name_passes = byte in TCHARS
            value_passes = (byte >= 0x20 and byte != 0x7F) or byte == 0x09
            target_passes = byte > 0x20 and byte != 0x7F

            assert isinstance(request((cut, b"v")), bytes) == name_passes
            assert isinstance(request((b"n", cut)), bytes) == value_passes
            assert isinstance(request(path=b"/" + cut), bytes) == target_passes


@pytest.mark.parametrize("n", [16, 17, 31, 32, 33, 48, 63])
def test_no_place_of_a_long_value_hides_a_byte_that_may_not_pass(n):
    for at in range(n):
        for byte in b"\0\t\r\n\x1f \x7e\x7f\x80\xff":
            value = b"a" * at + bytes([byte]) + b"b" * (n - at - 1)
            value_passes = byte == 0x09 or (byte >= 0x20 and byte != 0x7F)

            assert isinstance(request((b"n", value)), bytes) == value_passes


@given(
    st.lists(
        st.tuples(
            st.text("".join(map(chr, TCHARS)), min_size=1, max_size=40).map(
                lambda name: b"x" + name.encode()
            ),
            st.binary(max_size=60).map(
                lambda raw: bytes(b for b in raw if b >= 0x20 and b != 0x7F).strip()
            ),
        ),
        max_size=20,
    )
)
def test_whatever_is_clean_arrives_as_it_was_sent(fields):
    assert fields_of(*fields) == fields


@given(st.integers(0, 700))
def test_too_little_room_is_a_fault_and_never_an_overrun(room):
    probes = [
        RequestProbe(
            [(b"Accept", b"text/html"), (b"X-Forwarded-For", b"198.51.100.1")] * 3,
            authority=b"example.com",
            content_length=12345,
            trusted=True,
            x_forwarded=True,
            forwarded=True,
            request_id=True,
            via=b"fastgate",
            rules=[("set", b"X-A", b"1"), ("add", b"X-B", b"2")],
        ),
        ResponseProbe(
            [(b"Content-Type", b"text/html")] * 3,
            length=10,
            server=b"fastgate",
            via=b"fastgate",
            close=True,
        ),
    ]
    for one, fault in zip(probes, ["header-too-large", "internal"], strict=True):
        whole = one.write()

        assert one.write(room) == (whole if room >= len(whole) else fault)


# --- framing of requests ------------------------------------------------------


def test_content_length_is_written_anew():
    passed = fields_of((b"content-length", b"007"), (b"A", b"1"), content_length=7)

    assert passed == [(b"A", b"1"), (b"Content-Length", b"7")]


@pytest.mark.parametrize("length", [0, 9, 10, 2**63 - 1])
def test_any_length_is_written_in_decimal(length):
    assert fields_of(content_length=length) == [
        (b"Content-Length", str(length).encode())
    ]


def test_an_empty_post_keeps_its_content_length_of_zero():
    assert fields_of(method=b"POST", content_length=0) == [(b"Content-Length", b"0")]


def test_a_chunked_request_has_that_coding_alone():
    passed = fields_of(
        (b"Transfer-Encoding", b"gzip, chunked"), (b"Content-Length", b"5"),
        chunked=True, content_length=5,
    )  # fmt: skip

    assert passed == [(b"Transfer-Encoding", b"chunked")]


# --- tunnels ------------------------------------------------------------------


def test_a_tunnel_asks_the_upstream_to_upgrade():
    passed = fields_of((b"Upgrade", b"websocket"), upgrade=b"websocket", tunnel=True)

    assert passed == [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]


def test_without_a_tunnel_upgrade_is_left_out():
    assert fields_of((b"Upgrade", b"websocket"), upgrade=b"websocket") == []


@pytest.mark.parametrize(
    "value", [b"h2c", b"H2C", b"websocket, h2c", b"h2c/1,x", b",h2c "]
)
def test_h2c_is_never_offered_upstream(value):
    assert fields_of((b"Upgrade", value), upgrade=value, tunnel=True) == []


def test_a_protocol_that_only_begins_like_h2c_passes():
    passed = fields_of(upgrade=b"h2cat, xh2c", tunnel=True)

    assert passed[1] == (b"Upgrade", b"h2cat, xh2c")


# --- from the wire ------------------------------------------------------------


def forwarded(raw, **how):
    """What a client's bytes become."""
    taken = RequestProbe(**how)
    assert taken.read(raw) == "-"
    return taken.write()


def test_a_browsers_request_goes_on_as_it_came_but_for_its_connection():
    assert forwarded(
        b"GET /%61/../b?c=d HTTP/1.1\r\nHost: EXAMPLE.com:80\r\naccept:  */*  \r\n"
        b"Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX_Real_IP: 1\r\n"
        b"X-Forwarded-For: 203.0.113.9\r\n\r\n",
        x_forwarded=True,
    ) == (
        b"GET /%61/../b?c=d HTTP/1.1\r\nHost: example.com:80\r\naccept: */*\r\n"
        b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: example.com:80\r\nX-Forwarded-Port: 8080\r\n\r\n"
    )


def test_a_1_0_post_is_framed_by_its_length():
    assert forwarded(b"POST / HTTP/1.0\r\nContent-Length: 05\r\n\r\n12345") == (
        b"POST / HTTP/1.1\r\nHost: \r\nContent-Length: 5\r\n\r\n"
    )


def test_a_chunked_upgrade_request_keeps_its_coding_and_its_protocol():
    raw = (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )

    assert forwarded(raw, tunnel=True) == (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


# --- responses ----------------------------------------------------------------


def test_the_status_line_keeps_a_valid_reason_and_says_1_1():
    assert head_of(response(status=200, reason=b"Fine", minor=0))[0] == (
        b"HTTP/1.1 200 Fine"
    )


@pytest.mark.parametrize("reason", [b"", b"a\r\nX: y", b"\x00"])
def test_a_missing_or_forbidden_reason_is_the_standard_one(reason):
    assert head_of(response(status=404, reason=reason))[0] == b"HTTP/1.1 404 Not Found"


def test_a_status_without_a_phrase_keeps_its_blank():
    assert head_of(response(status=599))[0] == b"HTTP/1.1 599 "
    assert head_of(response(status=999))[0] == b"HTTP/1.1 999 "


@pytest.mark.parametrize("status", [0, 99, 1000])
def test_a_status_that_is_not_three_digits_is_refused(status):
    assert response(status=status) == "upstream-bad-response"


@pytest.mark.parametrize("status", [600, 777, 999])
def test_a_status_that_nobody_registered_passes(status):
    start, _ = head_of(response(status=status, reason=b"Own"))

    assert start == b"HTTP/1.1 %d Own" % status


def test_response_fields_pass_but_framing_and_hop_by_hop_do_not():
    _, written = head_of(
        response(
            (b"date", b"Tue, 24 Nov 2026 03:02:59 GMT"),
            (b"Connection", b"close"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Transfer-Encoding", b"chunked"),
            (b"X-Listed", b"1", True),
            (b"Set-Cookie", b"a=1"),
            (b"Set-Cookie", b"b=2"),
        )
    )

    assert written == [
        (b"date", b"Tue, 24 Nov 2026 03:02:59 GMT"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]


def framing(**how):
    return head_of(response((b"Content-Length", b"999"), **how))[1]


def test_framing_says_how_the_body_is_sent():
    assert framing(length=5) == [(b"Content-Length", b"5")]
    assert framing(length=0) == [(b"Content-Length", b"0")]
    assert framing(send_chunked=True) == [(b"Transfer-Encoding", b"chunked")]
    assert framing(close=True) == [(b"Connection", b"close")]


def test_an_answer_to_head_and_a_304_keep_their_length():
    how = {"bodiless": True, "content_length": 999}

    assert framing(status=200, **how) == [(b"Content-Length", b"999")]
    assert framing(status=304, **how) == [(b"Content-Length", b"999")]
    assert framing(status=200, bodiless=True, send_chunked=True) == []


@pytest.mark.parametrize("status", [100, 103, 101, 204])
def test_an_answer_that_has_no_body_by_definition_has_no_length(status):
    assert framing(status=status, bodiless=True, content_length=0, length=0) == []


def test_a_1_0_client_is_told_that_the_connection_stays():
    assert framing(length=1, client_minor=0)[-1] == (b"Connection", b"keep-alive")
    assert framing(length=1, client_minor=0, close=True)[-1] == (
        b"Connection",
        b"close",
    )


def test_a_tunnel_is_granted_with_its_protocol():
    how = {"status": 101, "upgrade": b"websocket", "tunnel": True, "bodiless": True}

    assert framing(**how) == [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]


def test_server_is_kept_replaced_or_left_out():
    sent = (b"server", b"upstream/1")

    assert head_of(response(sent))[1] == [sent]
    assert head_of(response(sent, server=b"fastgate"))[1] == [(b"Server", b"fastgate")]
    assert head_of(response(sent, server=b""))[1] == []


def test_rules_of_a_response_reach_server_and_via():
    rules = [("remove", b"Server", b""), ("set", b"Via", b"x")]
    _, written = head_of(response(server=b"fastgate", via=b"fastgate", rules=rules))

    assert written == [(b"Via", b"x")]


# --- our own replies ----------------------------------------------------------


def test_a_reply_is_one_line_of_text_that_h11_reads():
    written = probe.write_reply(
        503, b"no endpoint available", server=b"fastgate",
        date=b"Tue, 24 Nov 2026 03:02:59 GMT", close=True,
    )  # fmt: skip
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(written)
    head, body, end = (client.next_event() for _ in range(3))

    assert head.status_code == 503
    assert head.reason == b"Service Unavailable"
    assert head.headers.raw_items() == [
        (b"Server", b"fastgate"),
        (b"Date", b"Tue, 24 Nov 2026 03:02:59 GMT"),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"26"),
        (b"Retry-After", b"1"),
        (b"Connection", b"close"),
    ]
    assert body.data == b"503 no endpoint available\n"
    assert isinstance(end, h11.EndOfMessage)


def test_a_reply_to_head_tells_the_length_of_the_body_it_leaves_out():
    full = probe.write_reply(404, b"no route for this request")

    assert (
        probe.write_reply(404, b"no route for this request", head_only=True)
        == (full[: full.index(b"\r\n\r\n") + 4])
    )


def test_a_reply_without_a_text_says_its_phrase():
    assert probe.write_reply(431).endswith(
        b"\n\r\n431 Request Header Fields Too Large\n"
    )


def test_a_405_says_what_is_allowed():
    text = b"CONNECT is not allowed"
    _, written = head_of(probe.write_reply(405, text, allow=b"GET, HEAD"))
    _, none_left = head_of(probe.write_reply(405, text, allow=b""))
    _, other = head_of(probe.write_reply(404, text, allow=b"GET, HEAD"))

    assert (b"Allow", b"GET, HEAD") in written
    assert (b"Allow", b"") in none_left
    assert b"Allow" not in dict(other)


@pytest.mark.parametrize("status", [400, 405, 503])
def test_the_longest_reply_of_all_has_room(status):
    methods = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE"

    whole = probe.write_reply(
        status,
        b"x" * 319,
        server=b"s" * 256,
        date=b"Sun, 06 Nov 1994 08:49:37 GMT",
        allow=methods,
        close=True,
        room=1024,
    )

    assert whole.endswith(b"x\n")


def test_a_reply_that_cannot_be_sent_is_a_fault():
    whole = probe.write_reply(400, b"x")

    assert probe.write_reply(400, b"x", room=len(whole)) == whole
    for room in range(len(whole)):
        assert probe.write_reply(400, b"x", room=room) == "internal"
    assert probe.write_reply(400, b"a\r\nb") == "internal"
    assert probe.write_reply(199) == "internal"
