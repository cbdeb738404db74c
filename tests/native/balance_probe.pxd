"""What tests and micro-benchmarks hold of slots, balance and limits.

Runs in: tests only.
"""

from libc.stdint cimport int64_t, uint64_t

from fastgate.dataplane.balance cimport policies as balance
from fastgate.dataplane.base cimport limits


cdef class Group:
    cdef balance.Group group
    cdef int choose(
        self, region, uint64_t key, uint64_t draw, int64_t now_ms, tried
    ) except -3


cdef class Budget:
    cdef limits.RetryBudget budget


cdef class Random:
    cdef limits.Random random
