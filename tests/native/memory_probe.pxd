"""What tests hold of slabs, byte queues and the timer wheel.

Runs in: tests only.
"""

from libc.stdint cimport int64_t

from fastgate.dataplane.base cimport memory


cdef struct Thing:              # an object of a slab
    memory.SlabItem item
    int64_t value
    char rest[100]


cdef struct Numbered:           # a timer that knows its number
    memory.Timer timer
    int64_t number


cdef class Slab:
    cdef memory.Slab slab


cdef class Bytes:
    cdef memory.Bytes queue


cdef class Wheel:
    cdef memory.Wheel *wheel
    cdef Numbered *timers
    cdef readonly int count

    cdef memory.Timer *_timer(self, int number) except NULL
