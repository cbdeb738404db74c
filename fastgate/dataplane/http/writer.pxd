"""The one way in which a message is written: bounded, and checked on the way.

Runs in: worker. Header-only, for it is the innermost loop of who writes heads. A
message goes into bounded room through one `Out`, whose first failure sticks and
closes the room, so that no call needs an error path of its own.

Names and values are checked while they are copied, eight bytes at a time
(SWAR: Lamport 1975, CACM 18(8); Warren, Hacker's Delight, section 6-1); values, which
are longer, sixteen at a time in a vector.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, strlen

from fastgate.dataplane.base.words cimport copy_short, load8, load_short, put_decimal

cdef struct Out:
    char *at
    char *end
    int fault               # the first failure; at == end from then on
    int bad_fault           # what a forbidden byte means in this message
    int room_fault          # what too little room means


cdef extern from * nogil:
    """
    typedef unsigned char fg_bytes16 __attribute__((vector_size(16)));

    /* Copy n >= 16 bytes; is any of them below 0x20 or 0x7f? */
    static inline int fg_copy_controls(char *out, const char *p, size_t n) {
        fg_bytes16 word, bad = {0};
        unsigned long long half[2];
        size_t i = 0;
        for (;;) {
            memcpy(&word, p + i, 16);
            memcpy(out + i, &word, 16);
            bad |= (fg_bytes16)(word < 0x20) | (fg_bytes16)(word == 0x7f);
            if (n - i <= 16) break;
            i = n - i >= 32 ? i + 16 : n - 16;
        }
        memcpy(half, &bad, 16);
        return (half[0] | half[1]) != 0;
    }
    """
    bint fg_copy_controls(char *out, const char *p, size_t n) noexcept


cdef inline uint64_t controls(uint64_t word) noexcept nogil:
    """0x80 in every byte below 0x20 or equal to 0x7f. Exact: no carry crosses."""
    cdef uint64_t low = word & 0x7f7f7f7f7f7f7f7fU
    cdef uint64_t is_printable = low + 0x6060606060606060U
    cdef uint64_t is_delete = low + 0x0101010101010101U
    return (~is_printable | is_delete) & ~word & 0x8080808080808080U


cdef inline uint64_t blanks(uint64_t word) noexcept nogil:
    """0x80 in every byte below 0x21 or equal to 0x7f."""
    cdef uint64_t low = word & 0x7f7f7f7f7f7f7f7fU
    cdef uint64_t is_visible = low + 0x5f5f5f5f5f5f5f5fU
    cdef uint64_t is_delete = low + 0x0101010101010101U
    return (~is_visible | is_delete) & ~word & 0x8080808080808080U


cdef inline uint64_t uncommon(uint64_t word) noexcept nogil:
    """0x80 in every byte that is neither a letter nor `-`: not in a usual name."""
    cdef uint64_t low = word & 0x7f7f7f7f7f7f7f7fU
    cdef uint64_t folded = low | 0x2020202020202020U
    cdef uint64_t from_a = folded + 0x1f1f1f1f1f1f1f1fU
    cdef uint64_t past_z = folded + 0x0505050505050505U
    cdef uint64_t is_dash = (
        0x8080808080808080U - (low ^ 0x2d2d2d2d2d2d2d2dU)
    )
    return (
        (~((from_a & ~past_z) | is_dash) | word) & 0x8080808080808080U
    )


cdef inline bint is_tchar(uint8_t c) noexcept nogil:
    """May it stand in a token (RFC 9110 section 5.6.2)? One bit a byte."""
    cdef uint64_t bits = 0x57ffffffc7fffffeU if c & 64 else 0x3ff6cfa00000000U
    return c < 128 and bits >> (c & 63) & 1


cdef inline bint is_token(const char *p, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if not is_tchar(<uint8_t>p[i]):
            return False
    return n > 0


cdef inline bint is_value(const char *p, size_t n) noexcept nogil:
    """Is it a field value: no control byte but the tab (RFC 9110 section 5.5)?"""
    cdef size_t i
    cdef uint8_t c
    for i in range(n):
        c = <uint8_t>p[i]
        if (c < 0x20 and c != c'\t') or c == 0x7f:
            return False
    return True


cdef inline bint copy_value(char *out, const char *p, size_t n) noexcept nogil:
    """Copy n bytes to `out`, which has room; were they a clean field value?"""
    cdef uint64_t first, last
    cdef bint bad
    if n >= 16:
        bad = fg_copy_controls(out, p, n)
    elif n >= 8:
        first = load8(p)
        last = load8(p + n - 8)
        memcpy(out, &first, 8)
        memcpy(out + n - 8, &last, 8)
        bad = controls(first) | controls(last) != 0
    else:
        copy_short(out, p, n)
        bad = controls(load_short(p, n)) != 0
    return not bad or is_value(p, n)


cdef inline bint copy_name(char *out, const char *p, size_t n) noexcept nogil:
    """Copy n bytes to `out`, which has room; were they a token?"""
    cdef uint64_t word, bad = 0
    cdef size_t i = 0
    if n < 8:
        copy_short(out, p, n)
        bad = uncommon(load_short(p, n))
    else:
        while i + 8 <= n:
            word = load8(p + i)
            memcpy(out + i, &word, 8)
            bad |= uncommon(word)
            i += 8
        word = load8(p + n - 8)
        memcpy(out + n - 8, &word, 8)
        bad |= uncommon(word)
    return n > 0 and (bad == 0 or is_token(p, n))


cdef inline bint copy_target(char *out, const char *p, size_t n) noexcept nogil:
    """Copy n bytes to `out`, which has room; may they stand in a target?"""
    cdef uint64_t word, bad = 0
    cdef size_t i = 0
    if n < 8:
        copy_short(out, p, n)
        return blanks(load_short(p, n)) == 0
    while i + 8 <= n:
        word = load8(p + i)
        memcpy(out + i, &word, 8)
        bad |= blanks(word)
        i += 8
    word = load8(p + n - 8)
    memcpy(out + n - 8, &word, 8)
    return (bad | blanks(word)) == 0


cdef inline void begin(
    Out *o, char *out, size_t room, int bad_fault, int room_fault
) noexcept nogil:
    o.at = out
    o.end = out + room
    o.fault = 0
    o.bad_fault = bad_fault
    o.room_fault = room_fault


cdef inline void fail(Out *o, int fault) noexcept nogil:
    if not o.fault:
        o.fault = fault
    o.end = o.at


cdef inline bint fits(Out *o, size_t n) noexcept nogil:
    if n <= <size_t>(o.end - o.at):
        return True
    fail(o, o.room_fault)
    return False


cdef inline void put_text(Out *o, const char *text) noexcept nogil:
    """Append a literal of ours; its strlen is a constant once this is inlined."""
    cdef size_t n = strlen(text)
    if fits(o, n):
        memcpy(o.at, text, n)
        o.at += n


cdef inline void put_value(Out *o, const char *p, size_t n) noexcept nogil:
    """Append bytes that come from outside: a field value, or a part of one."""
    if fits(o, n):
        if copy_value(o.at, p, n):
            o.at += n
        else:
            fail(o, o.bad_fault)


cdef inline void put_target(Out *o, const char *p, size_t n) noexcept nogil:
    if fits(o, n):
        if copy_target(o.at, p, n):
            o.at += n
        else:
            fail(o, o.bad_fault)


cdef inline void put_number(Out *o, int64_t number) noexcept nogil:
    """Append a number >= 0 in decimal."""
    cdef char digits[20]
    cdef size_t n = put_decimal(digits, <uint64_t>number) - digits
    if fits(o, n):
        memcpy(o.at, digits, n)
        o.at += n
