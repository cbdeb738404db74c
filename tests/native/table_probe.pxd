"""A struct with a field of every width, and its rows. Runs in: tests only."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t


cdef struct Sample:
    uint8_t switch
    uint16_t port
    uint32_t room_bytes
    int count
    int64_t wait_ms
    size_t buffer_bytes
    uint8_t colour
    uint8_t edge                # no row: it must stay as it is
