"""Whose request it is, behind proxies that are trusted or not."""

import pytest
import write_probe as probe
from hypothesis import given
from hypothesis import strategies as st

PROXIES = [(b"10.0.0.0", 104), (b"2001:db8::", 32)]


def client(*chain, peer=b"10.0.0.1", trusted=PROXIES):
    """Whose request it is that `peer`, a trusted proxy, passed on."""
    return probe.client_of(peer, [(b"X-Forwarded-For", c) for c in chain], trusted)


def test_a_peer_that_tells_nothing_is_the_client_itself():
    assert client() == b"10.0.0.1"
    assert client(peer=b"unix:") == b"unix:"


def test_a_trusted_unix_peer_tells_whose_request_it_is():
    assert client(b"6.6.6.6, 203.0.113.1", peer=b"unix:", trusted=[]) == b"203.0.113.1"
    assert client(b"203.0.113.1, 10.0.0.9", peer=b"unix:") == b"203.0.113.1"
    assert client(b"203.0.113.1, unix:", peer=b"unix:") == b"unix:"


def test_a_trusted_peer_tells_the_rightmost_address_that_is_not_trusted():
    assert client(b"6.6.6.6, 203.0.113.1, 10.0.0.9 ,\t10.0.0.8") == b"203.0.113.1"
    assert client(b"6.6.6.6, 203.0.113.1", b"10.0.0.9") == b"203.0.113.1"
    assert client(b"203.0.113.1", peer=b"2001:db8::5") == b"203.0.113.1"


def test_a_chain_of_trusted_proxies_alone_tells_its_first():
    assert client(b"10.0.0.3, 10.0.0.2") == b"10.0.0.3"


@pytest.mark.parametrize(
    ("element", "address"),
    [
        (b"203.0.113.1:8080", b"203.0.113.1"),
        (b"2001:db9::1", b"2001:db9::1"),
        (b"[2001:db9::1]", b"2001:db9::1"),
        (b"[2001:db9::1]:8080", b"2001:db9::1"),
        (b", ,203.0.113.1, ,", b"203.0.113.1"),
    ],
)
def test_an_address_may_come_with_a_port(element, address):
    assert client(element) == address


@pytest.mark.parametrize(
    "element",
    [b"unknown", b"_hidden", b"[203.0.113.1]", b"[::1", b"[::1]x", b"1.2.3", b":80",
     b"2001:db9::1%eth0", b"a" * 300, b"[]", b"[", b"1.2.3.4:5:6", b"\xff"],
)  # fmt: skip
def test_what_is_no_address_ends_the_walk_at_the_last_good_one(element):
    assert client(b"203.0.113.1, " + element) == b"10.0.0.1"
    assert client(b"203.0.113.1, " + element + b", 10.0.0.7") == b"10.0.0.7"


@given(st.binary(max_size=60))
def test_any_bytes_in_the_chain_tell_an_address(raw):
    told = client(raw)

    assert 0 < len(told) <= 46
    assert set(told) <= set(b"0123456789abcdefABCDEF.:")
