"""The rooms hashing, address and chance, opened to pytest.

Runs in: tests only. Arguments are checked here, for the rooms themselves trust
their callers. The `time_*` functions loop in C and return nanoseconds of CPU a
turn, so that neither Python's calls nor other processes' time are measured.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from fastgate.dataplane.base cimport address, chance, hashing

cdef enum:
    MAX_CIDRS = 64


cdef double now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return now.tv_sec * 1e9 + now.tv_nsec


# --- hashes


def hash_bytes(bytes data, uint64_t seed):
    return hashing.hash_bytes(<const char *>data, len(data), seed)


def siphash(bytes data, uint64_t k0, uint64_t k1):
    return hashing.siphash(<const char *>data, len(data), k0, k1)


# --- addresses


def is_trusted(list networks, bytes held):
    """networks: (16 bytes, bits) each."""
    cdef address.Cidr cidrs[MAX_CIDRS]
    cdef int i
    if len(networks) > MAX_CIDRS or len(held) != 16:
        raise ValueError("is_trusted")
    for i, (prefix, bits) in enumerate(networks):
        if len(prefix) != 16:
            raise ValueError("prefix")
        memcpy(cidrs[i].address, <const char *>prefix, 16)
        cidrs[i].bits = bits
    return address.is_trusted(
        cidrs, <int>len(networks), <const uint8_t *><const char *>held
    )


def parse_address(bytes text):
    """The 16 bytes, or None. The text is read where no NUL follows it."""
    cdef uint8_t out[16]
    memset(out, 0xAA, 16)
    padded = text + b"9:9"
    if address.parse_address(<const char *>padded, len(text), out):
        return (<char *>out)[:16]
    if any(byte != 0xAA for byte in (<char *>out)[:16]):
        raise AssertionError("out16 was touched")
    return None


def put_address(bytes packed):
    """The text of 4 or 16 bytes; checks that nothing was written past its room."""
    cdef char out[address.ADDRESS_TEXT + 1]
    cdef const uint8_t *at = packed
    cdef char *end
    cdef size_t room = 15 if len(packed) == 4 else address.ADDRESS_TEXT
    memset(out, 0xAA, sizeof(out))
    if len(packed) == 4:
        end = address.put_ipv4(out, at)
    elif len(packed) == 16:
        end = address.put_ipv6(out, at)
    else:
        raise ValueError(packed)
    if <uint8_t>out[room] != 0xAA:
        raise AssertionError("wrote past its room")
    return out[:end - out]


# --- random bits


cdef class Random:
    """Seeded from `state` (four words) or from the kernel."""

    def __cinit__(self, state=None):
        cdef int i
        if state is None:
            chance.random_seed(&self.random)
        else:
            for i in range(4):
                self.random.s[i] = state[i]

    def next(self):
        return chance.random_next(&self.random)

    def id(self):
        """The text, and the byte behind it, which random_id ends with a NUL."""
        cdef char out[33]
        chance.random_id(&self.random, out)
        return out[:32], out[32]


# --- time, in nanoseconds a turn


def time_hash(bytes data, int64_t n):
    cdef const char *at = data
    cdef size_t size = len(data)
    cdef double start
    cdef uint64_t chained = 1
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            chained = hashing.hash_bytes(at, size, chained)
        start = now_ns() - start
    return start / n if chained else 0.0


def time_random(Random random, int64_t n):
    cdef double start
    cdef uint64_t all_bits = 0
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            all_bits |= chance.random_next(&random.random)
        start = now_ns() - start
    return start / n if all_bits else 0.0


def time_parse_address(bytes text, int64_t n):
    cdef const char *at = text
    cdef size_t size = len(text)
    cdef uint8_t out[16]
    cdef double start
    cdef bint parsed = True
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            parsed &= address.parse_address(at, size, out)
        start = now_ns() - start
    if not parsed:
        raise ValueError(text)
    return start / n
