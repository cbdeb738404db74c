"""What tests hold of slabs and byte queues. Runs in: tests only."""

from libc.stdint cimport int64_t

from fastgate.dataplane.base cimport memory


cdef struct Thing:              # an object of a slab
    memory.SlabItem item
    int64_t value
    char rest[100]


cdef class Slab:
    cdef memory.Slab slab


cdef class Bytes:
    cdef memory.Bytes queue
