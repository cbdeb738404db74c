"""What tests and micro-benchmarks hold of base. Runs in: tests only."""

from fastgate.dataplane.base cimport chance


cdef class Random:
    cdef chance.Random random
