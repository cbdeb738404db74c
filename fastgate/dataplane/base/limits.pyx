"""Small bounded judgements: trusted addresses, the retry budget, random bits.

Runs in: worker (also master, where it reads the configuration's addresses).

Retry budget, in short: every request pays `percent` of a retry in, a retry takes
one out. So retries can never be more than that share of the traffic, whatever
fails, and a failing upstream is not buried under its own retries. Two bounds make
it usable at the edges: a quiet worker may still retry BUDGET_MINIMUM times a
second, and what a busy one has saved up is capped.
Source: Google, Site Reliability Engineering (2016), chapter 21; Finagle's
RetryBudget.
"""

import os

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset

from fastgate.dataplane.base.words cimport put_hex8

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET
    int AF_INET6
    int inet_pton(int family, const char *text, void *address) noexcept

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *buffer, size_t size, unsigned int flags) noexcept

cdef enum:
    LONGEST_ADDRESS = 45        # ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255
    MILLI = 1000                # thousandths in one retry
    BUDGET_MINIMUM = 3          # retries a second that a quiet worker still has
    BUDGET_BURST = 10           # of them saved up: an endpoint's death costs no request
    LONGEST_REFILL_MS = 60000   # more than a burst's worth, and no overflow
    BUDGET_CAP = 100            # retries that can be saved up: one bad burst's worth


cdef bint is_trusted(const Cidr *list, int n, const uint8_t *address) noexcept nogil:
    """Does one of the `n` networks hold this address?

    address  16 bytes, IPv4 as ::ffff:a.b.c.d, so `0.0.0.0/0` (96 bits) holds all of
             IPv4 and nothing else, `::/0` everything
    A network whose `bits` are out of 0..128 holds nothing.
    """
    cdef int i, whole, rest
    cdef uint8_t mask
    for i in range(n):
        if not 0 <= list[i].bits <= 128:
            continue
        whole = list[i].bits >> 3
        rest = list[i].bits & 7
        if memcmp(list[i].address, address, whole) != 0:
            continue
        if rest == 0:
            return True
        mask = <uint8_t>(0xFF << (8 - rest))
        if (list[i].address[whole] ^ address[whole]) & mask == 0:
            return True
    return False


cdef bint parse_address(const char *text, size_t n, uint8_t *out16) noexcept nogil:
    """Read an IPv4 or IPv6 address, not NUL-terminated, into its mapped form.

    Takes what inet_pton(3) takes: four plain decimals without leading zeros, or
    RFC 4291 text; no brackets, port, zone or blanks. On failure returns False and
    leaves `out16` alone.
    """
    cdef char copy[LONGEST_ADDRESS + 1]
    cdef uint8_t address[16]
    if n == 0 or n > LONGEST_ADDRESS or memchr(text, 0, n) is not NULL:
        return False
    memcpy(copy, text, n)
    copy[n] = 0
    if memchr(copy, c":", n) is not NULL:
        if inet_pton(AF_INET6, copy, address) != 1:
            return False
    else:
        memset(address, 0, 10)
        memset(address + 10, 0xFF, 2)
        if inet_pton(AF_INET, copy, address + 12) != 1:
            return False
    memcpy(out16, address, 16)
    return True


cdef void budget_note_request(RetryBudget *b, int percent) noexcept nogil:
    """A first attempt was made: pay `percent` (0..100) of a retry in."""
    b.tokens_milli += percent * (MILLI // 100)
    if b.tokens_milli > BUDGET_CAP * MILLI:
        b.tokens_milli = BUDGET_CAP * MILLI


cdef bint budget_take(RetryBudget *b, int percent, int64_t now_ms) noexcept nogil:
    """Take one retry out, if there is one.

    percent  of the requests; 0 = never retry, not even the minimum
    now_ms   CLOCK_MONOTONIC
    A zeroed RetryBudget is a fresh one. The minimum refills up to BUDGET_BURST
    only: quiet minutes do not add up. That is twice the failures after which an
    endpoint is skipped by default, so that its death is seen by no client.
    """
    cdef int64_t elapsed_ms = now_ms - b.refilled_ms
    if percent <= 0:
        return False
    if elapsed_ms > 0:
        b.refilled_ms = now_ms
        if b.tokens_milli < BUDGET_BURST * MILLI:
            if elapsed_ms > LONGEST_REFILL_MS:
                elapsed_ms = LONGEST_REFILL_MS
            b.tokens_milli += elapsed_ms * BUDGET_MINIMUM * MILLI // 1000
            if b.tokens_milli > BUDGET_BURST * MILLI:
                b.tokens_milli = BUDGET_BURST * MILLI
    if b.tokens_milli < MILLI:
        return False
    b.tokens_milli -= MILLI
    return True


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


cdef inline uint64_t rotated(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


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
