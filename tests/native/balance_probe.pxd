"""What tests and micro-benchmarks hold of slots and balance.

Runs in: tests only.
"""

from libc.stdint cimport int64_t, uint64_t

from fastgate.dataplane.balance cimport budget, policies


cdef class Group:
    cdef policies.Group group
    cdef int choose(
        self, region, uint64_t key, uint64_t draw, int64_t now_ms, tried
    ) except -3


cdef class Budget:
    cdef budget.RetryBudget budget
