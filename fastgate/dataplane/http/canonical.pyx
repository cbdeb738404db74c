"""One canonical form of a host, and the primary reading of a path.

Runs in: worker. Both functions are idempotent: the canonical form of a canonical
form is itself, and it is recognised by one table-driven scan that copies nothing.
What a path holds that others may read otherwise is told in `odd`.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

from fastgate.dataplane.base.faults cimport (
    FAULT_BAD_HOST, FAULT_BAD_TARGET, FAULT_NONE, FAULT_TARGET_TOO_LONG,
)

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET6
    enum: INET6_ADDRSTRLEN
    int inet_pton(int family, const char *text, void *address)
    const char *inet_ntop(int family, const void *address, char *text, unsigned size)

cdef enum PathByte:
    P_PLAIN = 0         # stands for itself in a canonical path
    P_SLASH
    P_PERCENT
    P_QUERY             # ends the path
    P_DOT
    P_SEMICOLON         # path parameters: readers differ on what they mean
    P_BACKSLASH         # a separator for some readers
    P_ENCODE            # not in the grammar, but browsers send it: read as its escape
    P_BAD               # controls, blanks, bytes above 7F and "#"

cdef enum HostByte:
    O_PLAIN = 0
    O_UPPER
    O_DOT
    O_COLON
    O_BAD

cdef uint8_t PATH_BYTE[256]
cdef uint8_t QUERY_BAD[256]
cdef uint16_t ESCAPED[256]      # the Odd bit of a byte that is sent as an escape
cdef uint8_t HOST_BYTE[256]
cdef uint8_t HEX_VALUE[256]     # 255: not a hex digit
cdef const char *HEX_DIGITS = "0123456789ABCDEF"


def fill_tables() -> None:
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    digits = b"0123456789"
    unreserved = letters + digits + b"-._~"
    plain = unreserved + b"!$&'()*+,=" + b":@"
    special = {
        ord("/"): P_SLASH,
        ord("%"): P_PERCENT,
        ord("?"): P_QUERY,
        ord("."): P_DOT,
        ord(";"): P_SEMICOLON,
        ord("\\"): P_BACKSLASH,
    }
    escaped = {
        ord("."): ODD_ESCAPED_DOT,
        ord("/"): ODD_ESCAPED_SLASH,
        ord("%"): ODD_ESCAPED_PERCENT,
        ord(";"): ODD_ESCAPED_SEMICOLON,
        ord("\\"): ODD_ESCAPED_BACKSLASH,
    }
    for byte in range(256):
        if byte in special:
            PATH_BYTE[byte] = special[byte]
        elif byte in plain:
            PATH_BYTE[byte] = P_PLAIN
        elif byte in b'"<>[]^`{|}':
            PATH_BYTE[byte] = P_ENCODE
        else:
            PATH_BYTE[byte] = P_BAD
        QUERY_BAD[byte] = not 0x21 <= byte <= 0x7E or byte == ord("#")
        if byte in escaped:
            ESCAPED[byte] = escaped[byte]
        elif byte in unreserved:
            ESCAPED[byte] = ODD_UNRESERVED
        else:
            ESCAPED[byte] = ODD_RESERVED if byte in plain else 0
        HEX_VALUE[byte] = 255
        if byte in letters[:26]:
            HOST_BYTE[byte] = O_UPPER
        elif byte in letters or byte in digits or byte in b"-_~!$&'()*+;=":
            HOST_BYTE[byte] = O_PLAIN
        elif byte == ord("."):
            HOST_BYTE[byte] = O_DOT
        elif byte == ord(":"):
            HOST_BYTE[byte] = O_COLON
        else:
            HOST_BYTE[byte] = O_BAD
    for value in range(16):
        HEX_VALUE[ord(f"{value:x}")] = value
        HEX_VALUE[ord(f"{value:X}")] = value


fill_tables()


cdef int read_port(const char *at, size_t n, const char **digits) noexcept nogil:
    """The port in `n` digits, 1..65535; 0 when there are none; otherwise -1.

    digits  set to the first that is no leading zero: where the port's one form is
    """
    cdef const char *end = at + n
    cdef int port = 0
    while at < end and at[0] == c"0":
        at += 1
    digits[0] = at
    if end - at > 5 or (n > 0 and at == end):
        return -1
    while at < end:
        if not c"0" <= at[0] <= c"9":
            return -1
        port = port * 10 + (at[0] - c"0")
        at += 1
    return port if port <= 65535 else -1


cdef int set_form(
    const char *at, size_t host_len, size_t authority_len, HostForm *form
) noexcept nogil:
    form.host = at
    form.authority = at
    form.host_len = host_len
    form.authority_len = authority_len
    return FAULT_NONE


cdef int canonical_literal(
    const char *at, size_t n, char *out, HostForm *form
) noexcept nogil:
    """`[v6]` or `[v6]:port`; the address in the one text form of RFC 5952."""
    cdef char text[64]
    cdef uint8_t address[16]
    cdef size_t inner = 0
    cdef size_t length = 0
    cdef size_t tail
    cdef const char *digits = at + n
    while 1 + inner < n and at[1 + inner] != c"]":
        inner += 1
    tail = inner + 2
    if tail > n or inner >= INET6_ADDRSTRLEN:
        return FAULT_BAD_HOST
    memcpy(text, at + 1, inner)
    text[inner] = 0
    # A NUL inside would end the text early for inet_pton.
    while length < inner and text[length] != 0:
        length += 1
    if length != inner or inet_pton(AF_INET6, text, address) != 1:
        return FAULT_BAD_HOST
    form.port = 0
    if tail < n:
        form.port = -1
        if at[tail] == c":":
            form.port = read_port(at + tail + 1, n - tail - 1, &digits)
        if form.port < 0:
            return FAULT_BAD_HOST
    if inet_ntop(AF_INET6, address, text, INET6_ADDRSTRLEN) is NULL:
        return FAULT_BAD_HOST
    length = 0
    while text[length] != 0:
        length += 1
    if (
        length == inner and memcmp(text, at + 1, inner) == 0
        and (tail == n or digits == at + tail + 1 < at + n)
    ):
        return set_form(at, tail, n, form)
    out[0] = c"["
    memcpy(out + 1, text, length)
    out[1 + length] = c"]"
    return set_form(
        out, length + 2, put_port(out, length + 2, digits, at + n - digits), form
    )


cdef size_t put_port(
    char *out, size_t end, const char *digits, size_t n
) noexcept nogil:
    """Write `:port` behind a host of `end` bytes, if there is one; the new end."""
    if n == 0:
        return end
    out[end] = c":"
    memcpy(out + end + 1, digits, n)
    return end + 1 + n


cdef int canonical_host(
    const char *at, size_t n, char *out, HostForm *form
) noexcept nogil:
    """The canonical form of `host[:port]`: lower case, without a trailing dot, an
    empty port or leading zeros in it.

    at, n   the value of Host or a target's authority; borrowed
    out     HOST_ROOM bytes, written only when the text is not canonical already
    returns FAULT_NONE or FAULT_BAD_HOST: empty, longer than MAX_HOST_BYTES, another
            character than the unreserved and sub-delims of RFC 3986, a "," (that
            is how two Host fields look when they were joined), an empty label, an
            address in brackets that is none, or a port that is not 1..65535
    Source: RFC 3986 section 3.2.2, RFC 9110 section 7.2.
    """
    cdef size_t i = 0
    cdef size_t j
    cdef size_t end
    cdef bint changed = False
    cdef uint8_t kind
    cdef const char *digits = at + n
    if n == 0 or n > MAX_HOST_BYTES + 7:
        return FAULT_BAD_HOST
    if at[0] == c"[":
        return canonical_literal(at, n, out, form)
    while i < n:
        kind = HOST_BYTE[<uint8_t>at[i]]
        if kind == O_PLAIN:
            i += 1
            continue
        if kind == O_UPPER:
            changed = True
        elif kind == O_DOT:
            if i == 0 or at[i - 1] == c".":
                return FAULT_BAD_HOST
        elif kind == O_COLON:
            break
        elif kind == O_BAD:
            return FAULT_BAD_HOST
        i += 1
    form.port = 0
    if i < n:
        form.port = read_port(at + i + 1, n - i - 1, &digits)
        if form.port < 0:
            return FAULT_BAD_HOST
        changed |= form.port == 0 or digits != at + i + 1
    end = i
    if end > 0 and at[end - 1] == c".":
        end -= 1
        changed = True
    if end == 0 or end > MAX_HOST_BYTES:
        return FAULT_BAD_HOST
    if not changed:
        return set_form(at, end, n, form)
    for j in range(end):
        out[j] = at[j] | 0x20 if c"A" <= at[j] <= c"Z" else at[j]
    return set_form(out, end, put_port(out, end, digits, at + n - digits), form)


cdef bint query_is_clean(const char *at, size_t n) noexcept nogil:
    cdef uint8_t bad = 0
    cdef size_t i
    for i in range(n):
        bad |= QUERY_BAD[<uint8_t>at[i]]
    return not bad


cdef int decode(const char *at, size_t left) noexcept nogil:
    """The byte that `%XX` at `at` says, or -1."""
    cdef uint8_t high
    cdef uint8_t low
    if left < 3 or at[0] != c"%":
        return -1
    high = HEX_VALUE[<uint8_t>at[1]]
    low = HEX_VALUE[<uint8_t>at[2]]
    if high == 255 or low == 255:
        return -1
    return high << 4 | low


cdef bint is_overlong(int byte, int after) noexcept nogil:
    """Whether two bytes begin an overlong UTF-8 form, which some origins decode."""
    if byte == 0xC0 or byte == 0xC1:
        return 0x80 <= after <= 0xBF
    if byte == 0xE0:
        return 0x80 <= after <= 0x9F
    return byte == 0xF0 and 0x80 <= after <= 0x8F


cdef ssize_t end_segment(char *out, size_t seg, size_t end) noexcept nogil:
    """Where the path goes on after the segment out[seg:end]; -1: it may not.

    `seg` itself for an empty segment and for ".", the parent for "..".
    """
    cdef size_t n = end - seg
    if n == 0 or (n == 1 and out[seg] == c"."):
        return seg
    if n == 2 and out[seg] == c"." and out[seg + 1] == c".":
        if seg == 1:
            return -1
        seg -= 1
        while out[seg - 1] != c"/":
            seg -= 1
        return seg
    return end


cdef inline uint32_t end_run(int *dots, uint32_t odd) noexcept nogil:
    """ODD_DOTS if one or two dots alone stand before a byte that may end a segment."""
    if dots[0] == 1 or dots[0] == 2:
        odd |= ODD_DOTS
    dots[0] = 0
    return odd


cdef int rewrite_path(
    const char *at, size_t n, char *out, size_t room, TargetForm *form
) noexcept nogil:
    """The slow path of canonical_target: write the primary reading into `out`."""
    cdef size_t i = 1
    cdef size_t w = 1           # bytes written
    cdef size_t seg = 1         # where the current segment starts
    cdef ssize_t at_end
    cdef int dots = 0           # since a segment may have begun; 3: not dots alone
    cdef uint32_t odd = 0
    cdef uint32_t bit
    cdef uint8_t kind
    cdef int byte
    if room < 4:
        return FAULT_TARGET_TOO_LONG
    out[0] = c"/"
    while i < n:
        if w + 4 > room:
            return FAULT_TARGET_TOO_LONG
        byte = <uint8_t>at[i]
        kind = PATH_BYTE[byte]
        if kind == P_PLAIN:
            out[w] = byte
            w += 1
            i += 1
            dots = 3
            continue
        if kind == P_DOT:
            out[w] = c"."
            w += 1
            i += 1
            dots += dots < 3
            continue
        if kind == P_SLASH:
            odd = end_run(&dots, odd)
            if at[i - 1] == c"/":
                odd |= ODD_SLASHES
            at_end = end_segment(out, seg, w)
            if at_end < 0:
                return FAULT_BAD_TARGET
            if <size_t>at_end == w and w > seg:
                out[w] = c"/"
                at_end += 1
            w = seg = <size_t>at_end
            i += 1
            continue
        if kind == P_QUERY:
            break
        if kind == P_SEMICOLON:
            odd = end_run(&dots, odd) | ODD_SEMICOLON
            out[w] = c";"
            w += 1
            i += 1
            continue
        if kind == P_BAD:
            return FAULT_BAD_TARGET
        if kind == P_PERCENT:
            byte = decode(at + i, n - i)
            if byte <= 0 or is_overlong(byte, decode(at + i + 3, n - i - 3)):
                return FAULT_BAD_TARGET
            i += 3
            bit = ESCAPED[byte]
            odd |= bit
            if bit == ODD_ESCAPED_DOT:
                dots += dots < 3
            elif bit & (
                ODD_ESCAPED_SLASH | ODD_ESCAPED_SEMICOLON | ODD_ESCAPED_BACKSLASH
            ):
                odd = end_run(&dots, odd)
            else:
                dots = 3
            if bit & (ODD_ESCAPED_DOT | ODD_UNRESERVED):
                out[w] = byte
                w += 1
                continue
        else:
            i += 1
            if kind == P_BACKSLASH:
                odd = end_run(&dots, odd) | ODD_BACKSLASH
            else:
                dots = 3
        out[w] = c"%"
        out[w + 1] = HEX_DIGITS[byte >> 4]
        out[w + 2] = HEX_DIGITS[byte & 15]
        w += 3
    at_end = end_segment(out, seg, w)
    if at_end < 0:
        return FAULT_BAD_TARGET
    form.path = out
    form.path_len = <size_t>at_end
    form.query = at + i
    form.query_len = n - i
    form.raw_len = i
    form.odd = end_run(&dots, odd)
    return FAULT_NONE


cdef int canonical_target(
    const char *at, size_t n, char *out, size_t room, TargetForm *form
) noexcept nogil:
    """The primary reading of the path of an origin-form target, and its raw query.

    Percent-encoded unreserved characters are decoded, other hex digits are upper
    case, `//` is `/`, dot segments are resolved (encoded dots too), backslashes and
    what browsers send outside the grammar count as their escapes. The target itself is
    not touched; `form.odd` says what else stands in it that others may read
    otherwise.

    at, n           starts with "/"; borrowed
    out, room       scratch, written only when the path is not its own reading
    returns FAULT_NONE; FAULT_BAD_TARGET for a climb above the root, %00, a
            malformed or overlong escape, `#`, blanks, controls and bytes above 7F;
            FAULT_TARGET_TOO_LONG when the reading does not fit
    Source: RFC 3986 sections 5.2.4 and 6.2.2.
    """
    cdef size_t i = 0
    cdef uint8_t kind
    cdef int fault
    if n == 0 or at[0] != c"/":
        return FAULT_BAD_TARGET
    form.path = NULL
    while i < n:
        kind = PATH_BYTE[<uint8_t>at[i]]
        if kind == P_PLAIN or kind == P_DOT:
            i += 1
        elif kind == P_SLASH:
            i += 1
            if i < n and (at[i] == c"/" or at[i] == c"."):
                break
        elif kind == P_QUERY:
            form.path = at
            break
        elif kind == P_BAD:
            return FAULT_BAD_TARGET
        else:
            break
    if i == n or form.path is not NULL:
        form.path = at
        form.path_len = i
        form.query = at + i
        form.query_len = n - i
        form.raw_len = i
        form.odd = 0
    else:
        fault = rewrite_path(at, n, out, room, form)
        if fault != FAULT_NONE:
            return fault
    if not query_is_clean(form.query, form.query_len):
        return FAULT_BAD_TARGET
    return FAULT_NONE
