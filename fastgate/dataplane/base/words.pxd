"""Bytes eight at a time: loads that neither overread nor call memcpy.

Runs in: worker. Header-only: a load or two each, inlined wherever they are used.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline uint64_t load8(const char *p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, 8)
    return word


cdef inline uint64_t load_short(const char *p, size_t n) noexcept nogil:
    """The n < 8 bytes at p, the rest of the word filled with `-`.

    Two overlapping loads instead of a loop; nothing outside [p, p + n) is read.
    Bytes may come twice or in another order, which a check does not mind.
    """
    cdef uint32_t first4, last4
    cdef uint16_t first2, last2
    if n >= 4:
        memcpy(&first4, p, 4)
        memcpy(&last4, p + n - 4, 4)
        return <uint64_t>first4 | <uint64_t>last4 << 32
    if n >= 2:
        memcpy(&first2, p, 2)
        memcpy(&last2, p + n - 2, 2)
        return <uint64_t>first2 | <uint64_t>last2 << 16 | 0x2d2d2d2d00000000U
    if n == 1:
        return <uint64_t><uint8_t>p[0] | 0x2d2d2d2d2d2d2d00U
    return 0x2d2d2d2d2d2d2d2dU


cdef inline void copy_short(char *out, const char *p, size_t n) noexcept nogil:
    """Copy n < 8 bytes without calling memcpy."""
    cdef uint32_t first4, last4
    cdef uint16_t first2, last2
    if n >= 4:
        memcpy(&first4, p, 4)
        memcpy(&last4, p + n - 4, 4)
        memcpy(out, &first4, 4)
        memcpy(out + n - 4, &last4, 4)
    elif n >= 2:
        memcpy(&first2, p, 2)
        memcpy(&last2, p + n - 2, 2)
        memcpy(out, &first2, 2)
        memcpy(out + n - 2, &last2, 2)
    elif n == 1:
        out[0] = p[0]


cdef inline char *put_decimal(char *out, uint64_t number) noexcept nogil:
    """Write a number in decimal, at most 20 bytes; returns the end."""
    cdef char digits[20]
    cdef int n = 20
    while True:
        n -= 1
        digits[n] = c'0' + <char>(number % 10)
        number //= 10
        if number == 0:
            break
    memcpy(out, digits + n, 20 - n)
    return out + (20 - n)


cdef inline char *put_padded(char *at, int number, int width) noexcept nogil:
    """Write 0 <= number < 10**width with leading zeros; returns the end."""
    cdef int i = width
    while i > 0:
        i -= 1
        at[i] = <char>(c'0' + number % 10)
        number //= 10
    return at + width


cdef inline void put_hex8(char *out, uint32_t bits) noexcept nogil:
    """Write 32 bits as 8 hex digits, the lowest four first; all at once.

    The nibbles are spread over the bytes of one word, then each is made a digit: `0`
    is added to it, and from ten on what lies between `9` and `a`.
    """
    cdef uint64_t word = bits
    cdef uint64_t is_letter
    word = (word | word << 16) & 0x0000ffff0000ffffU
    word = (word | word << 8) & 0x00ff00ff00ff00ffU
    word = (word | word << 4) & 0x0f0f0f0f0f0f0f0fU
    is_letter = (word + 0x0606060606060606U) >> 4 & 0x0101010101010101U
    word += 0x3030303030303030U + is_letter * 0x27
    memcpy(out, &word, 8)
