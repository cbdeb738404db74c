import subprocess
import sys

import base_probe as probe
import pytest
from hypothesis import given
from hypothesis import strategies as st

M64 = (1 << 64) - 1
SIPHASH_KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, 0x726FDB47DD0E0E31),
        (1, 0x74F839C593DC67FD),
        (15, 0xA129CA6149BE45E5),
    ],
)
def test_siphash_gives_the_published_values(length, expected):
    assert probe.siphash(bytes(range(length)), *SIPHASH_KEY) == expected


def siphash_in_python(data: bytes, k0: int, k1: int) -> int:
    def turned(x, k):
        return (x << k | x >> (64 - k)) & M64

    def round_of(a, b, c, d):
        a, c = (a + b) & M64, (c + d) & M64
        b, d = turned(b, 13) ^ a, turned(d, 16) ^ c
        a = turned(a, 32)
        a, c = (a + d) & M64, (c + b) & M64
        d, b = turned(d, 21) ^ a, turned(b, 17) ^ c
        return a, b, turned(c, 32), d

    state = (
        k0 ^ int.from_bytes(b"somepseu", "big"),
        k1 ^ int.from_bytes(b"dorandom", "big"),
        k0 ^ int.from_bytes(b"lygenera", "big"),
        k1 ^ int.from_bytes(b"tedbytes", "big"),
    )
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        a, b, c, d = state
        a, b, c, d = round_of(*round_of(a, b, c, d ^ word))
        state = (a ^ word, b, c, d)
    a, b, c, d = state
    state = (a, b, c ^ 0xFF, d)
    for _ in range(4):
        state = round_of(*state)
    a, b, c, d = state
    return a ^ b ^ c ^ d


@given(st.binary(max_size=300), st.integers(0, M64), st.integers(0, M64))
def test_siphash_agrees_with_its_definition(data, k0, k1):
    assert probe.siphash(data, k0, k1) == siphash_in_python(data, k0, k1)


def test_another_seed_is_another_hash_and_a_fresh_process_has_the_same_one():
    here = probe.hash_bytes(b"/a/path", 1)
    there = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}; import base_probe as p; "
            "print(p.hash_bytes(b'/a/path', 1))",
        ],
        capture_output=True,
        check=True,
    )

    assert here != probe.hash_bytes(b"/a/path", 2)
    assert here == int(there.stdout)
