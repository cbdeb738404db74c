import ipaddress
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "native"))

import balance_probe as probe


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


# --- the retry budget


def test_a_quiet_worker_has_ten_retries_and_three_more_a_second():
    budget = probe.Budget()

    assert [budget.take(20, 60_000) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not budget.take(20, 60_300)
    assert budget.take(20, 60_334)
    assert [budget.take(20, 9_999_999) for _ in range(12)] == [True] * 10 + [False] * 2


def test_asking_often_does_not_lose_the_fractions_of_the_minimum():
    budget = probe.Budget()
    for _ in range(10):
        budget.take(20, 60_000)

    taken = sum(budget.take(20, 60_000 + ms) for ms in range(1, 10_001))

    assert taken == 30


def test_retries_are_no_more_than_their_share_of_the_requests():
    budget = probe.Budget()
    taken = 0
    for _ in range(10_000):
        budget.note_request(20)
        taken += budget.take(20, 1_000)

    assert 2_000 <= taken <= 2_003


def test_savings_are_capped():
    budget = probe.Budget()
    for _ in range(1_000_000):
        budget.note_request(100)

    assert sum(budget.take(100, 1_000) for _ in range(1_000)) == 100


def test_zero_percent_means_no_retry_at_all():
    budget = probe.Budget()
    for _ in range(100):
        budget.note_request(0)

    assert not budget.take(0, 1_000_000)


def test_a_clock_that_steps_back_gives_nothing():
    budget = probe.Budget()
    for _ in range(10):
        budget.take(20, 60_000)

    assert not budget.take(20, 1)
    assert not budget.take(20, -(1 << 62))


# --- random bits


def test_the_generator_gives_the_published_sequence():
    generator = probe.Random([1, 2, 3, 4])

    # The vector that the Rust crate rand_xoshiro checks against the authors' C.
    assert [generator.next() for _ in range(10)] == [
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
        9973669472204895162,
        14011001112246962877,
        12406186145184390807,
        15849039046786891736,
        10450023813501588000,
    ]


def test_an_id_is_the_next_128_bits_in_hex_the_lowest_digit_first():
    for seed in range(100):
        state = [seed + 1, 2**63 + seed, 3, 4]
        drawn = probe.Random(state)
        written = f"{drawn.next():016x}"[::-1] + f"{drawn.next():016x}"[::-1]

        assert probe.Random(state).id() == (written.encode(), 0)


def test_two_generators_seeded_by_the_kernel_differ():
    streams = {tuple(g.next() for _ in range(4)) for g in map(make, range(64))}

    assert len(streams) == 64


def make(_: int):
    return probe.Random()


def test_generators_seeded_after_a_fork_differ():
    reading, writing = os.pipe()
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os.write(writing, probe.Random().next().to_bytes(8, "big"))
            os._exit(0)
        os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        drawn = pipe.read()

    assert len({drawn[i : i + 8] for i in range(0, 32, 8)}) == 4
