"""Which fields go out, and the values of those that are made."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.heads import fields_of, head_of, response
from write_probe import RequestProbe

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
    assert fields_of(*CLAIMS, x_forwarded=True, forwarded=True, port=b"81") == [
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
    assert fields_of(x_forwarded=True, trusted=True, scheme=b"https", port=b"8443") == [
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
    how = {"peer": b"unix:", "port": b"", "x_forwarded": True, "forwarded": True}

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


# --- Date ---------------------------------------------------------------------

NOW = b"Tue, 24 Nov 2026 03:02:59 GMT"


def test_a_final_response_without_date_is_given_one():
    _, written = head_of(response((b"A", b"1"), date=NOW, length=0))

    assert (b"Date", NOW) in written


def test_a_date_of_the_upstream_is_kept_and_an_interim_response_needs_none():
    _, written = head_of(response((b"date", b"x"), date=NOW))

    assert [value for name, value in written if name.lower() == b"date"] == [b"x"]
    assert b"Date" not in response(status=103, bodiless=True, date=NOW)


def test_a_date_that_connection_drops_is_replaced_and_rules_reach_ours():
    _, written = head_of(response((b"Date", b"x", True), date=NOW))

    assert (b"Date", NOW) in written
    assert b"Date" not in response(date=NOW, rules=[("remove", b"Date", b"")])
