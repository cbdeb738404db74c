"""Random bits: fast, not for secrets. Runs in: worker."""

from libc.stdint cimport uint64_t

cdef struct Random:             # xoshiro256++, one per worker, seeded after fork
    uint64_t s[4]

cdef int random_seed(Random *r) except -1
cdef uint64_t random_next(Random *r) noexcept nogil
cdef void random_id(Random *r, char *out) noexcept nogil
