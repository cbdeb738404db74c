"""Addresses as 16 bytes, and their text.

Runs in: worker (also master, where it reads the configuration's addresses).
"""

from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from fastgate.dataplane.base.system cimport AF_INET, AF_INET6, inet_ntop, inet_pton
from fastgate.dataplane.base.words cimport put_decimal


cdef bint is_trusted(const Cidr *list, int n, const uint8_t *address) noexcept nogil:
    """Does one of the `n` networks hold this address?

    address  16 bytes, IPv4 as ::ffff:a.b.c.d, so `0.0.0.0/0` (96 bits) holds all of
             IPv4 and nothing else, `::/0` everything
    A network whose `bits` are out of 0..128 holds nothing.
    """
    cdef int i, whole, rest
    cdef uint8_t mask
    for i in range(n):
        if not 0 <= list[i].bits <= 128:
            continue
        whole = list[i].bits >> 3
        rest = list[i].bits & 7
        if memcmp(list[i].address, address, whole) != 0:
            continue
        if rest == 0:
            return True
        mask = <uint8_t>(0xFF << (8 - rest))
        if (list[i].address[whole] ^ address[whole]) & mask == 0:
            return True
    return False


cdef bint parse_address(const char *text, size_t n, uint8_t *out16) noexcept nogil:
    """Read an IPv4 or IPv6 address, not NUL-terminated, into its mapped form.

    Takes what inet_pton(3) takes: four plain decimals without leading zeros, or
    RFC 4291 text; no brackets, port, zone or blanks. On failure returns False and
    leaves `out16` alone.
    """
    cdef char copy[ADDRESS_TEXT]
    cdef uint8_t address[16]
    if n == 0 or n >= ADDRESS_TEXT or memchr(text, 0, n) is not NULL:
        return False
    memcpy(copy, text, n)
    copy[n] = 0
    if memchr(copy, c":", n) is not NULL:
        if inet_pton(AF_INET6, copy, address) != 1:
            return False
    else:
        memset(address, 0, 10)
        memset(address + 10, 0xFF, 2)
        if inet_pton(AF_INET, copy, address + 12) != 1:
            return False
    memcpy(out16, address, 16)
    return True


cdef char *put_ipv4(char *out, const uint8_t *four) noexcept nogil:
    """Write four bytes as a.b.c.d, at most 15 and no NUL; returns the end."""
    cdef int i
    for i in range(4):
        if i:
            out[0] = c"."
            out += 1
        out = put_decimal(out, four[i])
    return out


cdef char *put_ipv6(char *out, const uint8_t *sixteen) noexcept nogil:
    """Write sixteen bytes as inet_ntop(3) does; returns the end.

    out  ADDRESS_TEXT bytes of room: a NUL stands behind the text
    """
    inet_ntop(AF_INET6, sixteen, out, ADDRESS_TEXT)
    return out + strlen(out)
