"""Random bits: fast, not for secrets. Runs in: worker."""

import os

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t

from fastgate.dataplane.base.hashing cimport rotated
from fastgate.dataplane.base.words cimport put_hex8

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *buffer, size_t size, unsigned int flags) noexcept


cdef int random_seed(Random *r) except -1:
    """Seed from the kernel. Once in each worker AFTER the fork, or all of them
    would draw the same numbers. Raises OSError.
    """
    cdef ssize_t got
    while True:
        got = getrandom(r.s, sizeof(r.s), 0)
        if got < 0:
            if errno == EINTR:
                continue
            raise OSError(errno, os.strerror(errno))
        # Up to 256 bytes come whole. All zero is the generator's one dead state.
        if got == sizeof(r.s) and (r.s[0] | r.s[1] | r.s[2] | r.s[3]) != 0:
            return 0


cdef uint64_t random_next(Random *r) noexcept nogil:
    """64 random bits; fast, not for secrets.

    Source: xoshiro256++ 1.0, Blackman and Vigna 2021, ACM TOMS 47(4).
    """
    cdef uint64_t result = rotated(r.s[0] + r.s[3], 23) + r.s[0]
    cdef uint64_t t = r.s[1] << 17
    r.s[2] ^= r.s[0]
    r.s[3] ^= r.s[1]
    r.s[1] ^= r.s[2]
    r.s[0] ^= r.s[3]
    r.s[2] ^= t
    r.s[3] = rotated(r.s[3], 45)
    return result


cdef void random_id(Random *r, char *out) noexcept nogil:
    """128 random bits as 32 hex digits, NUL-terminated: 33 bytes."""
    cdef uint64_t bits = random_next(r)
    put_hex8(out, <uint32_t>bits)
    put_hex8(out + 8, <uint32_t>(bits >> 32))
    bits = random_next(r)
    put_hex8(out + 16, <uint32_t>bits)
    put_hex8(out + 24, <uint32_t>(bits >> 32))
    out[32] = 0
