import ipaddress

import base_probe as probe
import pytest
from hypothesis import given
from hypothesis import strategies as st


def mapped(address: str) -> bytes:
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return bytes(10) + b"\xff\xff" + parsed.packed
    return parsed.packed


def network(text: str) -> tuple[bytes, int]:
    parsed = ipaddress.ip_network(text)
    extra = 96 if parsed.version == 4 else 0
    return mapped(str(parsed.network_address)), parsed.prefixlen + extra


# --- trusted networks


@pytest.mark.parametrize(
    ("text", "address", "trusted"),
    [
        ("10.0.0.0/8", "10.255.1.2", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.0/8", "9.255.255.255", False),
        ("192.168.4.0/22", "192.168.7.255", True),
        ("192.168.4.0/22", "192.168.8.0", False),
        ("127.0.0.1/32", "127.0.0.1", True),
        ("127.0.0.1/32", "127.0.0.0", False),
        ("0.0.0.0/0", "255.255.255.255", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "1.2.3.4", True),
        ("::/0", "2001:db8::1", True),
        ("2001:db8::/33", "2001:db8:7fff::1", True),
        ("2001:db8::/33", "2001:db8:8000::1", False),
        ("::1/128", "::1", True),
        ("::1/128", "::", False),
    ],
)
def test_a_network_holds_its_own_addresses_only(text, address, trusted):
    assert probe.is_trusted([network(text)], mapped(address)) is trusted


def test_any_network_of_the_list_is_enough_and_an_empty_list_trusts_nobody():
    networks = [network("10.0.0.0/8"), network("::1/128")]

    assert probe.is_trusted(networks, mapped("::1"))
    assert not probe.is_trusted(networks, mapped("8.8.8.8"))
    assert not probe.is_trusted([], mapped("10.0.0.1"))


@pytest.mark.parametrize("bits", [-1, 129, 1 << 30, -(1 << 31)])
def test_a_network_with_impossible_bits_holds_nothing(bits):
    assert not probe.is_trusted([(bytes(16), bits)], bytes(16))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 128), st.integers(0, 127))
def test_membership_is_decided_by_exactly_the_prefix(address, bits, flipped):
    value = int.from_bytes(address, "big") ^ (1 << (127 - flipped))
    other = value.to_bytes(16, "big")

    assert probe.is_trusted([(address, bits)], other) is (flipped >= bits)


# --- addresses


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "255.255.255.255",
        "1.2.3.4",
        "::",
        "::1",
        "2001:db8::8:800:200c:417a",
        "::ffff:1.2.3.4",
        "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
        "FE80::A",
    ],
)
def test_an_address_is_read_into_its_mapped_form(text):
    assert probe.parse_address(text.encode()) == mapped(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1",
        b"1.2.3",
        b"1.2.3.4.5",
        b"1.2.3.256",
        b"01.2.3.4",
        b"1.2.3.4 ",
        b" 1.2.3.4",
        b"1.2.3.+4",
        b"0x1.2.3.4",
        b"1.2.3.4:80",
        b"[::1]",
        b"fe80::1%eth0",
        b":::",
        b"1::2::3",
        b"12345::",
        b"1:2:3:4:5:6:7",
        b"unix:",
        b"unknown",
        b"_hidden",
        b"1.2.3.4\x00",
        b"::1\x00",
        b"\x00",
        b"1" * 46,
        b"1" * 4096,
    ],
)
def test_what_is_not_exactly_an_address_is_refused(text):
    assert probe.parse_address(text) is None


@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.ip_addresses(v=6).map(lambda address: address.exploded),
        st.text("0123456789abcdef:.", max_size=48),
        st.text(max_size=20),
    )
)
def test_the_parser_agrees_with_the_standard_library(text):
    try:
        expected = mapped(text) if text.isascii() and "%" not in text else None
    except ValueError:
        expected = None

    assert probe.parse_address(text.encode()) == expected


@given(st.ip_addresses())
def test_an_address_is_written_so_that_it_is_read_again(address):
    text = probe.put_address(address.packed).decode()

    assert ipaddress.ip_address(text) == address


@pytest.mark.parametrize(
    "text", ["255.255.255.255", "::ffff:1.2.3.4", ":".join(["ffff"] * 8)]
)
def test_the_longest_addresses_and_mapped_ones_are_written_within_their_room(text):
    packed = ipaddress.ip_address(text).packed

    assert probe.put_address(packed) == text.encode()
