"""The readings of a path: do all who may read it take it to the same route?

Runs in: worker. The gateway forwards a path as it came, and the service behind it
reads it in a way of its own. Where every way of reading leads to the route that was
chosen, it does not matter which one is the service's; where two lead apart, a rule
of one route could be walked around through the other, and the request is refused.

A reader is a pipeline; each line is a choice, and each combination a reading:

    \\          stands for itself, or ends a segment as / does
    escapes    stay, or those of unreserved characters are decoded (RFC 3986), or
               all of them once; and then, by a second reader, the same again
    ;          stays, or is cut off with what follows it in its segment: before
               everything is decoded, or after
    segments   stay; or `//` is `/`; or `.` and `..` are resolved; or both, in
               either order: before everything is decoded, after, or both times

Every text on the way is spelled one way: a byte that needs no escape stands for
itself (`/`, `;` and all of RFC 3986's pchar but `%`), every other one is %XX in
capitals. Routes are spelled so too, so a reading is looked up like the path of any
request; and hex digits in lower case, `|` or `%7C` are never a difference.

The bound: a path of MAX_ODD_PATH_BYTES, and MAX_WORK_BYTES of text walked for all
readings together. Why so, and what is no reading: decision 0006.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

from fastgate.dataplane.base.faults cimport (
    FAULT_AMBIGUOUS_PATH, FAULT_BAD_TARGET, FAULT_NONE, FAULT_TARGET_TOO_LONG,
)
from fastgate.dataplane.http.canonical cimport (
    ODD_BACKSLASH, ODD_BY_NAME, ODD_DOTS, ODD_ESCAPED_BACKSLASH, ODD_ESCAPED_DOT,
    ODD_ESCAPED_PERCENT, ODD_ESCAPED_SEMICOLON, ODD_ESCAPED_SLASH, ODD_RESERVED,
    ODD_SEMICOLON, ODD_UNRESERVED, is_overlong,
)
from fastgate.dataplane.route.router cimport RouteQuery, Table, route

cdef enum:
    MAX_WORK_BYTES = 128 << 10
    ROOM = MAX_ODD_PATH_BYTES

cdef enum Spelled:              # how a byte is spelled, and how its escape is read
    S_ESCAPE = 0                # only as %XX
    S_UNRESERVED
    S_RESERVED                  # itself, and its escape may mean something else
    S_BACKSLASH

cdef enum Decoding:
    DECODE_UNRESERVED = 0
    DECODE_ALL
    DECODE_UNRESERVED_AGAIN     # %25XX, once all is decoded
    DECODE_ALL_AGAIN

cdef enum Slashes:
    SLASHES_STAY = 0
    SLASHES_MERGED              # before dot segments are resolved
    SLASHES_MERGED_AFTER        # an empty segment is one that `..` takes away
    N_SLASHES

cdef struct Reader:
    const Table *table
    const RouteQuery *primary
    int route                   # of the primary reading
    int32_t other               # of another one, where it differs
    int32_t work_left           # bytes
    bint compares               # False: readings are only held to the root
    char settled[ROOM]

cdef uint8_t SPELLED[256]


def fill_table() -> None:
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for byte in range(256):
        if byte in letters + b"0123456789-._~":
            SPELLED[byte] = S_UNRESERVED
        elif byte in b"!$&'()*+,=:@/;":
            SPELLED[byte] = S_RESERVED
        else:
            SPELLED[byte] = S_BACKSLASH if byte == ord("\\") else S_ESCAPE


fill_table()


# --- one text to another ---------------------------------------------------------


cdef inline int hex_value(char digit) noexcept nogil:
    """The value of a hex digit, in any case; -1: it is none."""
    if c"0" <= digit <= c"9":
        return digit - c"0"
    digit |= 0x20
    if c"a" <= digit <= c"f":
        return digit - c"a" + 10
    return -1


cdef inline size_t put_escape(char *out, int byte) noexcept nogil:
    cdef const char *digits = "0123456789ABCDEF"
    out[0] = c"%"
    out[1] = digits[byte >> 4]
    out[2] = digits[byte & 15]
    return 3


cdef ssize_t spell(
    const char *raw, size_t n, bint backslash_ends, char *out
) noexcept nogil:
    """`raw`, all of whose escapes are well-formed, spelled the one way; nothing is
    decoded. Returns its length, or -1 if it does not fit in ROOM.
    """
    cdef size_t i = 0
    cdef size_t w = 0
    cdef int byte
    while i < n:
        if w + 3 > ROOM:
            return -1
        byte = <uint8_t>raw[i]
        i += 1
        if byte == c"%":
            w += put_escape(out + w, hex_value(raw[i]) << 4 | hex_value(raw[i + 1]))
            i += 2
        elif byte == c"\\" and backslash_ends:
            out[w] = c"/"
            w += 1
        elif SPELLED[byte] == S_UNRESERVED or SPELLED[byte] == S_RESERVED:
            out[w] = <char>byte
            w += 1
        else:
            w += put_escape(out + w, byte)
    return <ssize_t>w


cdef size_t decode(
    const char *text, size_t n, int decoding, bint backslash_ends, char *out
) noexcept nogil:
    """Write `text`, decoded, to `out`, which may be `text`; what is no escape of the
    kind asked for stays. Returns its length.
    """
    cdef size_t i = 0
    cdef size_t w = 0
    cdef bint again = decoding >= DECODE_UNRESERVED_AGAIN
    cdef bint whole = decoding == DECODE_ALL or decoding == DECODE_ALL_AGAIN
    cdef size_t skip = 2 if again else 0
    cdef int high
    cdef int low
    cdef int byte
    cdef uint8_t kind
    while i < n:
        if text[i] != c"%":
            out[w] = text[i]
            w += 1
            i += 1
            continue
        byte = -1
        if not again:
            byte = hex_value(text[i + 1]) << 4 | hex_value(text[i + 2])
        elif i + 4 < n and text[i + 1] == c"2" and text[i + 2] == c"5":
            high = hex_value(text[i + 3])
            low = hex_value(text[i + 4])
            byte = high << 4 | low if high >= 0 and low >= 0 else -1
        kind = SPELLED[byte] if byte >= 0 else <uint8_t>S_ESCAPE
        if kind == S_UNRESERVED or (kind == S_RESERVED and whole):
            out[w] = <char>byte
            w += 1
            i += 3 + skip
        elif kind == S_BACKSLASH and backslash_ends:
            out[w] = c"/"
            w += 1
            i += 3 + skip
        elif byte >= 0 and decoding != DECODE_UNRESERVED_AGAIN:
            w += put_escape(out + w, byte)
            i += 3 + skip
        else:
            out[w] = c"%"
            w += 1
            i += 1
    return w


cdef size_t cut_parameters(const char *text, size_t n, char *out) noexcept nogil:
    """Write `text` without each `;` and what follows it in its segment."""
    cdef size_t i = 0
    cdef size_t w = 0
    cdef bint inside = False
    for i in range(n):
        if text[i] == c"/":
            inside = False
        elif text[i] == c";":
            inside = True
        if not inside:
            out[w] = text[i]
            w += 1
    return w


cdef size_t merge_slashes(char *text, size_t n) noexcept nogil:
    cdef size_t i
    cdef size_t w = 1
    for i in range(1, n):
        if text[i] != c"/" or text[w - 1] != c"/":
            text[w] = text[i]
            w += 1
    return w


cdef ssize_t settle(
    const char *text, size_t n, int slashes, bint resolves, char *out,
    bint *ends_in_dots
) noexcept nogil:
    """Write the segments of `text` as a reader holds them. Returns the length, or -1
    for a `..` above the root.

    ends_in_dots  the last segment was `.` or `..`: RFC 3986 section 5.2.4 leaves a
                  "/" at the end, others do not
    """
    cdef size_t i = 1
    cdef size_t w = 1
    cdef size_t length
    cdef const char *slash
    cdef bint last = False
    ends_in_dots[0] = False
    out[0] = c"/"
    while not last:
        slash = <const char *>memchr(text + i, c"/", n - i)
        last = slash is NULL
        length = n - i if last else <size_t>(slash - text) - i
        if resolves and length == 1 and text[i] == c".":
            ends_in_dots[0] = last
        elif resolves and length == 2 and text[i] == c"." and text[i + 1] == c".":
            if w == 1:
                return -1
            w -= 1
            while out[w - 1] != c"/":
                w -= 1
            ends_in_dots[0] = last
        elif length > 0 or slashes != SLASHES_MERGED:
            memcpy(out + w, text + i, length)
            w += length
            if not last:
                out[w] = c"/"
                w += 1
        i += length + 1
    if slashes == SLASHES_MERGED_AFTER:
        w = merge_slashes(out, w)
    return <ssize_t>w


# --- one text, read by all --------------------------------------------------------


cdef inline bint spend(Reader *r, size_t n) noexcept nogil:
    r.work_left -= <int32_t>n + 16
    return r.work_left >= 0


cdef int look_up(Reader *r, const char *text, size_t n) noexcept nogil:
    """FAULT_AMBIGUOUS_PATH if a reading does not take the route of the primary."""
    cdef RouteQuery query = r.primary[0]
    cdef int found
    if not r.compares or (
        n == query.path_len and memcmp(text, query.path, n) == 0
    ):
        return FAULT_NONE
    query.path = text
    query.path_len = <uint32_t>n
    found = route(r.table, &query)
    if found == r.route:
        return FAULT_NONE
    r.other = found
    return FAULT_AMBIGUOUS_PATH


cdef void survey(
    const char *text, size_t n, bint *has_empty, bint *has_dots
) noexcept nogil:
    """Whether there are empty segments in the middle, and dot segments."""
    cdef size_t i = 1
    cdef size_t length
    cdef const char *slash
    has_empty[0] = has_dots[0] = False
    while True:
        slash = <const char *>memchr(text + i, c"/", n - i)
        length = n - i if slash is NULL else <size_t>(slash - text) - i
        if length == 0:
            has_empty[0] |= slash is not NULL
        elif text[i] == c"." and (length == 1 or (length == 2 and text[i + 1] == c".")):
            has_dots[0] = True
        if slash is NULL:
            return
        i += length + 1


cdef int read_segments(Reader *r, const char *text, size_t n) noexcept nogil:
    """Every way to hold the segments of a text that is decoded and cut."""
    cdef bint has_empty
    cdef bint has_dots
    cdef bint ends_in_dots
    cdef bint resolves
    cdef int slashes
    cdef int fault
    cdef ssize_t length
    survey(text, n, &has_empty, &has_dots)
    for resolves in range(1 + has_dots):
        for slashes in range(N_SLASHES if has_empty else 1):
            if slashes == SLASHES_MERGED_AFTER and not resolves:
                continue
            if not spend(r, n):
                r.other = TOO_MANY_READINGS
                return FAULT_AMBIGUOUS_PATH
            length = settle(text, n, slashes, resolves, r.settled, &ends_in_dots)
            if length < 0:
                return FAULT_BAD_TARGET
            fault = look_up(r, r.settled, <size_t>length)
            if fault == FAULT_NONE and ends_in_dots and length > 1:
                fault = look_up(r, r.settled, <size_t>length - 1)
            if fault != FAULT_NONE:
                return fault
    return FAULT_NONE


cdef int read_decoded(Reader *r, const char *text, size_t n) noexcept nogil:
    """Every way to read a text that will not be decoded any more."""
    cdef char cut[ROOM]
    cdef int fault = read_segments(r, text, n)
    if fault == FAULT_NONE and memchr(text, c";", n) is not NULL:
        fault = read_segments(r, cut, cut_parameters(text, n, cut))
    return fault


cdef int read_resolved_first(
    Reader *r, const char *text, size_t n, int decoding, bint backslash_ends
) noexcept nogil:
    """Resolve the dot segments of a text, if it has any, then decode it."""
    cdef char first[ROOM]
    cdef char decoded[ROOM]
    cdef bint has_empty
    cdef bint has_dots
    cdef bint ends_in_dots
    cdef int slashes
    cdef int fault
    cdef ssize_t length
    survey(text, n, &has_empty, &has_dots)
    if not has_dots:
        return FAULT_NONE
    for slashes in range(N_SLASHES if has_empty else 1):
        if not spend(r, n):
            r.other = TOO_MANY_READINGS
            return FAULT_AMBIGUOUS_PATH
        length = settle(text, n, slashes, True, first, &ends_in_dots)
        if length < 0:
            return FAULT_BAD_TARGET
        fault = read_decoded(
            r, decoded,
            decode(first, <size_t>length, decoding, backslash_ends, decoded),
        )
        if fault != FAULT_NONE:
            return fault
    return FAULT_NONE


cdef bint holds_overlong(const char *text, size_t n) noexcept nogil:
    """Whether NUL or an overlong UTF-8 form came to light by decoding again."""
    cdef size_t i
    for i in range(n - 2 if n > 2 else 0):
        if text[i] != c"%":
            continue
        if text[i + 1] == c"0" and text[i + 2] == c"0":
            return True
        if i + 5 < n and text[i + 3] == c"%" and is_overlong(
            hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]),
            hex_value(text[i + 4]) << 4 | hex_value(text[i + 5]),
        ):
            return True
    return False


cdef int read_again(
    Reader *r, const char *text, size_t n, bint backslash_ends
) noexcept nogil:
    """Every way to decode a text that was decoded in full a second time, as a chain
    of two readers does; the first may have resolved dot segments.
    """
    cdef char again[ROOM]
    cdef size_t length = decode(text, n, DECODE_ALL_AGAIN, backslash_ends, again)
    cdef int fault
    if length == n:
        return FAULT_NONE
    if holds_overlong(again, length):
        return FAULT_BAD_TARGET
    fault = read_decoded(r, again, length)
    if fault == FAULT_NONE:
        fault = read_resolved_first(r, text, n, DECODE_ALL_AGAIN, backslash_ends)
    length = decode(text, n, DECODE_UNRESERVED_AGAIN, False, again)
    if length == n:
        return fault
    if fault == FAULT_NONE:
        fault = read_decoded(r, again, length)
    if fault == FAULT_NONE:
        fault = read_resolved_first(
            r, again, length, DECODE_ALL_AGAIN, backslash_ends
        )
    return fault


cdef int read_escapes(
    Reader *r, const char *text, size_t n, uint32_t odd, bint backslash_ends
) noexcept nogil:
    """Every way to decode all of a text, whose unreserved characters are decoded."""
    cdef char decoded[ROOM]
    cdef char cut[ROOM]
    cdef size_t length = decode(text, n, DECODE_ALL, backslash_ends, decoded)
    cdef bint has_dots = odd & ODD_DOTS != 0
    cdef int fault = read_decoded(r, decoded, length)
    if fault == FAULT_NONE and odd & ODD_ESCAPED_PERCENT:
        fault = read_again(r, decoded, length, backslash_ends)
    if fault == FAULT_NONE and has_dots:
        fault = read_resolved_first(r, text, n, DECODE_ALL, backslash_ends)
    if fault == FAULT_NONE and odd & ODD_SEMICOLON:
        length = cut_parameters(text, n, cut)
        fault = read_decoded(
            r, decoded, decode(cut, length, DECODE_ALL, backslash_ends, decoded)
        )
        if fault == FAULT_NONE and has_dots:
            fault = read_resolved_first(r, cut, length, DECODE_ALL, backslash_ends)
    return fault


cdef int judge_path(
    const Table *table, const RouteQuery *primary, int chosen, uint32_t odd,
    const char *raw, size_t raw_len, int ambiguous_paths, int32_t *other
) noexcept nogil:
    """Whether a path with something odd in it may be forwarded to `chosen`.

    primary     host and the primary reading of the path; borrowed
    chosen      what that takes: an index or NO_ROUTE
    odd         canonical.Odd bits of the path, not 0
    raw         the path as received, raw_len >= 1, its escapes well-formed
    ambiguous_paths  an AmbiguousPaths
    other       set with FAULT_AMBIGUOUS_PATH: the route of another reading, or
                NO_ROUTE, or TOO_MANY_READINGS; `chosen` where none was read
    returns FAULT_NONE; FAULT_AMBIGUOUS_PATH; FAULT_BAD_TARGET for a dot segment
            above the root, NUL or an overlong escape under any reading;
            FAULT_TARGET_TOO_LONG past MAX_ODD_PATH_BYTES
    """
    cdef Reader r
    cdef char spelled[ROOM]
    cdef bint source
    cdef bint ends
    cdef ssize_t n
    cdef size_t length
    cdef int fault = FAULT_NONE
    other[0] = chosen
    if ambiguous_paths == PATHS_REJECT and odd & <uint32_t>ODD_BY_NAME:
        return FAULT_AMBIGUOUS_PATH
    r.table = table
    r.primary = primary
    r.route = chosen
    r.other = chosen
    r.work_left = MAX_WORK_BYTES
    r.compares = ambiguous_paths != PATHS_KEEP
    for source in range(2 if odd & ODD_BACKSLASH else 1):
        n = spell(raw, raw_len, source, spelled)
        if n < 0:
            return FAULT_TARGET_TOO_LONG
        length = <size_t>n
        if odd & (ODD_UNRESERVED | ODD_ESCAPED_DOT):
            fault = read_decoded(&r, spelled, length)
            length = decode(spelled, length, DECODE_UNRESERVED, False, spelled)
        if fault == FAULT_NONE:
            fault = read_decoded(&r, spelled, length)
        if odd & (
            ODD_ESCAPED_SLASH | ODD_ESCAPED_PERCENT | ODD_ESCAPED_SEMICOLON
            | ODD_ESCAPED_BACKSLASH | ODD_RESERVED
        ):
            for ends in range(
                2 if odd & (ODD_ESCAPED_BACKSLASH | ODD_ESCAPED_PERCENT) else 1
            ):
                if fault == FAULT_NONE:
                    fault = read_escapes(&r, spelled, length, odd, ends)
        if fault != FAULT_NONE:
            break
    other[0] = r.other
    return fault
