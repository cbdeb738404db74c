"""What tests hold of the timer wheel. Runs in: tests only."""

from libc.stdint cimport int64_t

from fastgate.dataplane.base.wheel cimport Timer, Wheel


cdef struct Numbered:           # a timer that knows its number
    Timer timer
    int64_t number


cdef class WheelProbe:
    cdef Wheel *wheel
    cdef Numbered *timers
    cdef readonly int count

    cdef Timer *_timer(self, int number) except NULL
