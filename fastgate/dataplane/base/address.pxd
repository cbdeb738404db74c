"""Addresses as 16 bytes, and their text.

Runs in: worker (also master, where it reads the configuration's addresses).
"""

from libc.stdint cimport uint8_t

cdef enum:
    ADDRESS_TEXT = 46           # the longest address as text, and its NUL

cdef struct Cidr:
    uint8_t address[16]         # IPv4 as ::ffff:a.b.c.d
    int bits                    # 0..128 of the mapped form

cdef bint is_trusted(const Cidr *list, int n, const uint8_t *address) noexcept nogil
cdef bint parse_address(const char *text, size_t n, uint8_t *out16) noexcept nogil
cdef char *put_ipv4(char *out, const uint8_t *four) noexcept nogil
cdef char *put_ipv6(char *out, const uint8_t *sixteen) noexcept nogil
