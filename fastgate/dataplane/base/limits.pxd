"""Small bounded judgements: trusted addresses, the retry budget, random bits.

Runs in: worker.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef struct Cidr:
    uint8_t address[16]         # IPv4 as ::ffff:a.b.c.d
    int bits                    # 0..128 of the mapped form

cdef struct RetryBudget:
    int64_t tokens_milli        # thousandths of a retry
    int64_t refilled_ms

cdef struct Random:             # xoshiro256++, one per worker, seeded after fork
    uint64_t s[4]

cdef bint is_trusted(const Cidr *list, int n, const uint8_t *address) noexcept nogil
cdef bint parse_address(const char *text, size_t n, uint8_t *out16) noexcept nogil
cdef void budget_note_request(RetryBudget *b, int percent) noexcept nogil
cdef bint budget_take(RetryBudget *b, int percent, int64_t now_ms) noexcept nogil
cdef int random_seed(Random *r) except -1
cdef uint64_t random_next(Random *r) noexcept nogil
cdef void random_id(Random *r, char *out) noexcept nogil
