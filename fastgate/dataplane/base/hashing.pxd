"""Hashes: one with a key, of bytes that others may choose; one of numbers of ours.

Runs in: master (the identities of endpoints), worker (the rest).
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

cdef extern from * nogil:
    """
    /* 2**64 over the golden ratio, odd: multiples of it lie far from each other. */
    #define FG_GOLDEN   0x9E3779B97F4A7C15ULL
    """
    const uint64_t GOLDEN "FG_GOLDEN"

cdef inline uint64_t rotated(uint64_t x, int k) noexcept nogil:
    """x turned left by 0 < k < 64 bits."""
    return (x << k) | (x >> (64 - k))

cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """A permutation of 64 bits whose every output bit hangs on every input bit.

    Source: splitmix64's finalizer, Steele, Lea and Flood 2014, OOPSLA.
    """
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9U
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EBU
    return x ^ (x >> 31)

cdef uint64_t hash_bytes(const char *at, size_t n, uint64_t seed) noexcept nogil
cdef uint64_t siphash(
    const char *at, size_t n, uint64_t k0, uint64_t k1
) noexcept nogil
