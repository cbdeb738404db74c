"""The fuzz targets of the room parser, as C. Runs in: tests only.

An input is a script of cuts, then the bytes of a message:

    k      one byte, its low 3 bits: how many cuts follow
    cuts   k times two bytes, little-endian: where the stream is cut
    flags  one byte: bit 1 small limits
    rest   the message and what follows it
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

cdef int feed_request(const uint8_t *data, size_t size) noexcept nogil
cdef int feed_response(const uint8_t *data, size_t size) noexcept nogil
