"""What goes upstream, what goes back, and our own replies."""

import re

import h11
import pytest
import rewrite_probe as probe
from hypothesis import given
from hypothesis import strategies as st
from rewrite_probe import RequestProbe, ResponseProbe

CRLF = b"\r\n"


def head_of(written):
    """(start line, [(name, value)]) of a written head, or fail."""
    assert isinstance(written, bytes), written
    head, end, _ = written.partition(b"\r\n\r\n")
    assert end, written
    start, *lines = head.split(CRLF)
    return start, [tuple(line.split(b": ", 1)) for line in lines]


def request(*fields, **how):
    how.setdefault("authority", b"example.com")
    return RequestProbe(fields, **how).write()


def fields_of(*fields, **how):
    """The fields of a written request, its Host apart."""
    _, written = head_of(request(*fields, **how))
    assert written[0][0] == b"Host"
    return written[1:]


def response(*fields, **how):
    return ResponseProbe(fields, **how).write()


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

    assert written.split(CRLF)[1:3] == [b"Host: example.com:81", b"A: 1"]


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
    if b"\0" not in value:  # that would only end it
        assert request(own_id=value, request_id=True) == "bad-header"
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


# --- who the client is --------------------------------------------------------

CLAIMS = [
    (b"X-Forwarded-For", b"203.0.113.1"),
    (b"x-forwarded-FOR", b"203.0.113.2"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"evil.example"),
    (b"X-Forwarded-Port", b"443"),
    (b"X-Forwarded-Prefix", b"/evil"),
    (b"X-Forwarded-Client-Cert", b"x"),
    (b"X-Real-IP", b"203.0.113.3"),
    (b"Forwarded", b"for=203.0.113.4"),
]


def test_an_untrusted_peer_can_claim_nothing():
    assert fields_of(*CLAIMS, x_forwarded=True, forwarded=True, port=81) == [
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"example.com"),
        (b"X-Forwarded-Port", b"81"),
        (b"Forwarded", b"for=192.0.2.7;host=example.com;proto=http"),
    ]


def test_claims_of_an_untrusted_peer_go_even_where_none_are_made():
    assert fields_of(*CLAIMS) == []


def test_a_trusted_peer_is_believed_and_its_chain_is_continued():
    assert fields_of(*CLAIMS, x_forwarded=True, forwarded=True, trusted=True) == [
        *CLAIMS[2:8],
        (b"X-Forwarded-For", b"203.0.113.1, 203.0.113.2, 192.0.2.7"),
        (
            b"Forwarded",
            b"for=203.0.113.4, for=192.0.2.7;host=example.com;proto=https",
        ),
    ]


@pytest.mark.parametrize("odd", [b"https, http", b"", b"a b"])
def test_a_trusted_scheme_that_is_none_is_not_repeated(odd: bytes):
    passed = fields_of((b"X-Forwarded-Proto", odd), forwarded=True, trusted=True)

    assert passed[-1] == (
        b"Forwarded",
        b"for=192.0.2.7;host=example.com;proto=http",
    )


def test_what_a_trusted_peer_left_out_is_made():
    assert fields_of(x_forwarded=True, trusted=True, scheme=b"https", port=8443) == [
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"example.com"),
        (b"X-Forwarded-Port", b"8443"),
    ]


def test_claims_of_a_trusted_peer_pass_untouched_where_none_are_made():
    assert fields_of(*CLAIMS, trusted=True) == CLAIMS


def test_a_dropped_claim_counts_as_absent():
    passed = fields_of(
        (b"X-Forwarded-Proto", b"gopher", True),
        (b"X-Forwarded-For", b"203.0.113.9", True),
        x_forwarded=True,
        trusted=True,
    )

    assert (b"X-Forwarded-Proto", b"http") in passed
    assert (b"X-Forwarded-For", b"192.0.2.7") in passed


def test_a_unix_peer_has_no_address_to_tell():
    how = {"peer": b"unix:", "port": 0, "x_forwarded": True, "forwarded": True}

    assert fields_of(**how) == [
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"example.com"),
        (b"Forwarded", b"for=unknown;host=example.com;proto=http"),
    ]
    assert fields_of(CLAIMS[0], trusted=True, **how)[0] == CLAIMS[0]


def test_forwarded_quotes_what_is_no_token():
    passed = fields_of(
        forwarded=True, peer=b"2001:db8::1", v6=True, authority=b"[::1]:8080"
    )

    assert passed == [
        (b"Forwarded", b'for="[2001:db8::1]";host="[::1]:8080";proto=http')
    ]


# --- request id and Via -------------------------------------------------------

OWN_ID = b"00112233445566778899aabbccddeeff"


@pytest.mark.parametrize("sane", [b"a", b"x" * 128, b"Az09._~+/=:-"])
def test_a_sane_request_id_of_the_client_is_kept(sane):
    passed = fields_of((b"x-request-id", sane), request_id=True, own_id=OWN_ID)

    assert passed == [(b"X-Request-ID", sane)]


@pytest.mark.parametrize(
    "mad", [b"", b"x" * 129, b"a b", b'a"b', b"a\\b", b"\xff", b"a,b"]
)
def test_any_other_request_id_is_replaced(mad):
    passed = fields_of((b"X-Request-ID", mad), request_id=True, own_id=OWN_ID)

    assert passed == [(b"X-Request-ID", OWN_ID)]


def test_two_request_ids_are_none():
    passed = fields_of(
        (b"X-Request-ID", b"a"), (b"X-Request-ID", b"b"), request_id=True, own_id=OWN_ID
    )

    assert passed == [(b"X-Request-ID", OWN_ID)]


def test_a_request_id_is_any_other_field_where_none_is_asked_for():
    assert fields_of((b"X-Request-ID", b"a b")) == [(b"X-Request-ID", b"a b")]


def test_via_continues_the_clients_list_with_the_version_received():
    passed = fields_of(
        (b"Via", b"1.0 a"), (b"X", b"1"), (b"via", b"1.1 b"), via=b"fastgate"
    )

    assert passed == [(b"X", b"1"), (b"Via", b"1.0 a, 1.1 b, 1.1 fastgate")]
    assert fields_of(via=b"fastgate", minor=0) == [(b"Via", b"1.0 fastgate")]


NAME = b"edge-1:8080"


@pytest.mark.parametrize(
    "lines",
    [
        [b"1.1 edge-1:8080"],
        [b"1.0 outer, 1.1 edge-1:8080 , 1.1 inner"],
        [b"1.0 outer", b"1.1\t EDGE-1:8080"],
        [b"1.0 outer (a, b), HTTP/1.1 edge-1:8080 (fastgate)"],
        [b", ,1.1 edge-1:8080(fastgate)"],
        # Whoever opens a comment hides nothing that stands behind it.
        [b"1.0 x (", b"1.1 edge-1:8080"],
        [b"1.0 x (\\, 1.1 edge-1:8080, 1.1 y (z)"],
    ],
)
def test_a_request_that_was_here_before_is_a_loop(lines):
    fields = [(b"Via", line) for line in lines]

    assert RequestProbe(fields, via=NAME).write() == "loop"
    assert RequestProbe([(b"X", b"1"), *fields], via=NAME).write() == "loop"
    assert RequestProbe([(*f, True) for f in fields], via=NAME).write() == "loop"
    assert RequestProbe(fields).write() != "loop"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b",",
        b"1.1",
        b"1.1,",
        b"edge-1:8080",
        b"edge-1:8080, 1.1 edge-2:8080",
        b"1.1 edge-1",
        b"1.1 edge-1:80801",
        b"1.1 my-edge-1:8080",
        b"1.1 other edge-1:8080",
        b"1.1 other (edge-1:8080)",
        b"1.1edge-1:8080",
    ],
)
def test_only_a_hop_of_exactly_our_name_is_a_loop(line):
    passed = fields_of((b"Via", line), via=NAME)

    members = line + b", " if line else b""
    assert passed == [(b"Via", members + b"1.1 " + NAME)]


@given(st.lists(st.text("1. ,()me\\\t", max_size=9), max_size=6))
def test_whatever_stood_before_our_hop_is_seen_when_it_comes_back(lines):
    fields = [(b"Via", line.strip().encode()) for line in lines]
    sent = RequestProbe(fields, via=b"me").write()
    if sent == "loop":
        return
    again = re.findall(rb"\r\nVia: ([^\r]*)\r\n", sent)

    assert len(again) == 1
    assert RequestProbe([(b"Via", again[0])], via=b"me").write() == "loop"


def test_a_response_may_have_passed_here_twice():
    seen = (b"Via", b"1.1 " + NAME)
    _, written = head_of(response(seen, via=NAME))

    assert written == [(b"Via", b"1.1 " + NAME + b", 1.1 " + NAME)]


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


# --- rules --------------------------------------------------------------------


def test_set_replaces_all_fields_in_place_of_the_first():
    passed = fields_of(
        (b"A", b"1"), (b"x-role", b"user"), (b"B", b"2"), (b"X-Role", b"root"),
        rules=[("set", b"X-Role", b"guest")],
    )  # fmt: skip

    assert passed == [(b"A", b"1"), (b"X-Role", b"guest"), (b"B", b"2")]


def test_set_of_a_field_that_is_not_there_goes_to_the_end():
    passed = fields_of((b"A", b"1"), rules=[("set", b"X-Role", b"guest")])

    assert passed == [(b"A", b"1"), (b"X-Role", b"guest")]


def test_add_keeps_what_is_there():
    passed = fields_of((b"A", b"1"), (b"B", b"2"), rules=[("add", b"a", b"3")])

    assert passed == [(b"A", b"1"), (b"B", b"2"), (b"a", b"3")]


def test_remove_deletes_every_field_of_the_name_and_no_other():
    passed = fields_of(
        (b"Cookie", b"1"), (b"cookie", b"2"), (b"Cookies", b"3"), (b"Cookia", b"4"),
        rules=[("remove", b"COOKIE", b"")],
    )  # fmt: skip

    assert passed == [(b"Cookies", b"3"), (b"Cookia", b"4")]


def test_rules_of_one_name_work_in_their_order():
    sent = (b"A", b"0")

    def after(*rules):
        return [value for _, value in fields_of(sent, rules=rules)]

    add, assign, remove = (
        ("add", b"a", b"+"),
        ("set", b"a", b"="),
        ("remove", b"a", b""),
    )
    assert after(add, add) == [b"0", b"+", b"+"]
    assert after(add, assign) == [b"="]
    assert after(assign, add) == [b"=", b"+"]
    assert after(remove, add) == [b"+"]
    assert after(add, remove) == []
    assert after(assign, ("set", b"A", b"2")) == [b"2"]
    assert after(assign, remove, add) == [b"+"]


@pytest.mark.parametrize("id", probe.NEW_IDS)
def test_a_rule_of_any_id_meets_its_name_and_no_other(id):
    fields = ((b"New", b"1"), (b"Old", b"2"))

    def passed(rules):
        made = RequestProbe(
            fields, authority=b"a", rules=rules, x_forwarded=True, forwarded=True,
            request_id=True, via=b"v", peer=b"unix:", port=0,
        )  # fmt: skip
        _, written = head_of(made.call(b"New", id).write())
        return [f for f in written if f[0] in (b"New", b"Old")]

    assert passed([]) == list(fields)
    assert passed([("set", b"New", b"3")]) == [(b"New", b"3"), (b"Old", b"2")]
    assert passed([("add", b"New", b"3")]) == [*fields, (b"New", b"3")]
    assert passed([("remove", b"New", b"")]) == [(b"Old", b"2")]


def test_rules_reach_what_the_gateway_makes():
    how = {
        "x_forwarded": True,
        "forwarded": True,
        "request_id": True,
        "via": b"fastgate",
    }
    names = [
        b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host",
        b"X-Forwarded-Port", b"Forwarded", b"X-Request-ID", b"Via",
    ]  # fmt: skip

    assert [name for name, _ in fields_of(**how)] == names
    for name in names:
        removed = dict(fields_of(rules=[("remove", name.lower(), b"")], **how))
        assigned = dict(fields_of(rules=[("set", name, b"mine")], **how))
        assert set(removed) == set(names) - {name}
        assert assigned[name] == b"mine"
        assert set(assigned) == set(names)


def test_rules_reach_neither_host_nor_framing():
    names = [
        b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade",
        b"Keep-Alive",
    ]  # fmt: skip
    for name in names:
        for op in ("set", "add", "remove"):
            _, written = head_of(
                request((b"Host", b"x"), content_length=3, rules=[(op, name, b"9")])
            )
            assert written == [(b"Host", b"example.com"), (b"Content-Length", b"3")]


def test_a_rule_cannot_restore_a_claim_of_an_untrusted_peer():
    passed = fields_of(CLAIMS[7], rules=[("set", b"X-Real-IP", b"192.0.2.1")])

    assert passed == [(b"X-Real-IP", b"192.0.2.1")]


def test_more_rules_than_a_head_can_track_are_refused():
    rules = [("set", b"X-%d" % i, b"1") for i in range(65)]

    assert len(fields_of(rules=rules[:64])) == 64
    assert request(rules=rules) == "internal"
    assert response(rules=rules) == "internal"


RULE = st.tuples(
    st.sampled_from(["set", "add", "remove"]),
    st.sampled_from([b"a", b"A", b"Via", b"b"]),
    st.sampled_from([b"1", b"2"]),
)
FIELD = st.tuples(st.sampled_from([b"A", b"a", b"VIA", b"B", b"c"]), st.just(b"0"))


@given(st.lists(FIELD, max_size=8), st.lists(RULE, max_size=6))
def test_rules_agree_with_editing_a_list_one_rule_at_a_time(fields, rules):
    expected = list(fields)
    for op, name, value in rules:
        same = [i for i, f in enumerate(expected) if f[0].lower() == name.lower()]
        rest = [f for f in expected if f[0].lower() != name.lower()]
        if op == "add":
            expected.append((name, value))
        elif op == "remove" or not same:
            expected = rest + [(name, value)] * (op == "set")
        else:
            expected[same[0]] = (name, value)
            expected = [f for i, f in enumerate(expected) if i not in same[1:]]

    # Added fields stand at the end, so order is compared name by name only.
    for name in (b"a", b"via", b"b", b"c"):
        for written in (
            fields_of(*fields, rules=rules),
            head_of(response(*fields, rules=rules))[1],
        ):
            assert [f for f in written if f[0].lower() == name] == [
                f for f in expected if f[0].lower() == name
            ]


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


# --- Date, and names with an underscore ---------------------------------------

NOW = b"Tue, 24 Nov 2026 03:02:59 GMT"


def test_a_final_response_without_date_is_given_one():
    _, written = head_of(response((b"A", b"1"), date=NOW, length=0))

    assert (b"Date", NOW) in written


@pytest.mark.parametrize("status", [600, 777, 999])
def test_a_status_that_nobody_registered_passes(status):
    start, _ = head_of(response(status=status, reason=b"Own"))

    assert start == b"HTTP/1.1 %d Own" % status


def test_a_date_of_the_upstream_is_kept_and_an_interim_response_needs_none():
    _, written = head_of(response((b"date", b"x"), date=NOW))

    assert [value for name, value in written if name.lower() == b"date"] == [b"x"]
    assert b"Date" not in response(status=103, bodiless=True, date=NOW)


def test_a_date_that_connection_drops_is_replaced_and_rules_reach_ours():
    _, written = head_of(response((b"Date", b"x", True), date=NOW))

    assert (b"Date", NOW) in written
    assert b"Date" not in response(date=NOW, rules=[("remove", b"Date", b"")])


@pytest.mark.parametrize("op", ["set", "remove"])
def test_a_rule_means_the_name_with_underscores_too_where_origins_may(op):
    rules = [(op, b"X-User-Role", b"guest")]
    sent = [(b"X_User_Role", b"admin"), (b"x_user-role", b"admin"), (b"X_User", b"1")]
    left = [(b"X-User-Role", b"guest")] if op == "set" else []

    assert fields_of(*sent, rules=rules, dashes=True) == [*left, (b"X_User", b"1")]
    assert fields_of(*sent, rules=rules) == [*sent, *left]
