"""HTTP/1.x from bytes to a Head: llhttp, our own strictness, canonical forms.

Runs in: worker.

How a head is read. A call with `already == 0` gives llhttp the whole buffer once
and records spans. When that leaves the head incomplete, later calls give llhttp
only the new bytes and record nothing; when it then says that the head is complete,
one more pass over the whole head records. So the cost is linear however the bytes
were cut, and every Head comes from one pass over one contiguous buffer: the cut
cannot change the result. Faults keep that too: each is decided at one byte, by
what stands before it (docs/decisions/0003-one-parser.md).

llhttp runs strict, stops at the end of the head by itself, and never sees a body
other than a chunked one. What it accepts and we do not is refused in finish_*.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strlen

from fastgate.dataplane.canonical cimport (
    HOST_ROOM, HostForm, TargetForm, canonical_host, canonical_target,
)
from fastgate.dataplane.faults cimport (
    FAULT_BAD_CHUNK, FAULT_BAD_CONNECTION, FAULT_BAD_FRAMING, FAULT_BAD_HOST,
    FAULT_BAD_REQUEST, FAULT_BAD_TARGET, FAULT_BAD_TRAILER, FAULT_EXPECTATION,
    FAULT_HEAD_TOO_LARGE, FAULT_METHOD_CONNECT, FAULT_METHOD_UNKNOWN, FAULT_NONE,
    FAULT_PARTIAL, FAULT_TARGET_TOO_LONG, FAULT_TOO_MANY_FIELDS,
    FAULT_TRANSFER_CODING, FAULT_UPSTREAM_BAD, FAULT_VERSION,
)
from fastgate.dataplane.native cimport (
    HPE_INVALID_CONSTANT, HPE_INVALID_CONTENT_LENGTH, HPE_INVALID_METHOD,
    HPE_INVALID_TRANSFER_ENCODING, HPE_INVALID_URL, HPE_INVALID_VERSION, HPE_OK,
    HPE_PAUSED, HPE_PAUSED_H2_UPGRADE, HPE_UNEXPECTED_CONTENT_LENGTH, HPE_USER,
    LLHTTP_PARSER_BYTES, LLHTTP_REQUEST, LLHTTP_RESPONSE, LlhttpFields,
    LlhttpSettings, llhttp_execute, llhttp_get_error_pos, llhttp_get_method,
    llhttp_init, llhttp_resume, llhttp_settings_init,
)

assert LLHTTP_BYTES == LLHTTP_PARSER_BYTES
assert H_COUNT <= 32
assert sizeof(((<Head *>NULL).field_of)) == 32 * sizeof(short)

cdef enum:
    # h2o's and Node's bound on chunk lines that carry no data (CVE-2024-22019):
    # framing may cost as much as the body, and at least this much is always free.
    FREE_FRAMING_BYTES = 102400
    MAX_TRAILER_BYTES = 8192
    # Names that one message may list in Connection: each is compared with every
    # field, and real messages list three.
    MAX_LISTED = 32
    MAX_METHOD_BYTES = 32
    N_METHODS = 47
    METHOD_OPTIONS = 6
    METHOD_CONNECT = 5
    METHOD_PRI = 34
    CONNECTION_CLOSE = 1
    CONNECTION_KEEP_ALIVE = 2
    CONNECTION_UPGRADE = 4

cdef struct Method:
    const char *name            # NULL: llhttp knows it from another protocol
    uint8_t len
    uint8_t idempotent

cdef struct Name:               # a slot of the perfect hash below
    char text[24]
    uint8_t len                 # 0: empty slot
    uint8_t id

cdef Method METHODS[N_METHODS]
cdef Name NAMES[64]
cdef uint8_t DROPPED[H_COUNT]               # hop-by-hop, whoever lists it
cdef uint8_t NOT_LISTABLE[H_COUNT]          # may not be named by Connection
cdef uint8_t NOT_A_TRAILER[H_COUNT]
cdef uint8_t TOKEN[256]
cdef LlhttpSettings RECORD
cdef LlhttpSettings SKIP
cdef LlhttpSettings BODY


# --- names ---------------------------------------------------------------------


cdef inline uint64_t load8(const char *at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline uint32_t load4(const char *at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline bint folds_to(const char *token, const char *lower, size_t n) noexcept nogil:
    """Whether n bytes of a token are `lower`, which is letters, digits and "-".

    Setting bit 5 folds case, and takes no other token character to one of those.
    """
    cdef uint64_t fold = <uint64_t>0x2020202020202020ULL
    cdef size_t i = 0
    if n >= 8:
        while i + 8 <= n:
            if load8(token + i) | fold != load8(lower + i):
                return False
            i += 8
        return load8(token + n - 8) | fold == load8(lower + n - 8)
    if n >= 4:
        return (
            load4(token) | <uint32_t>fold == load4(lower)
            and load4(token + n - 4) | <uint32_t>fold == load4(lower + n - 4)
        )
    while i < n:
        if token[i] | 0x20 != lower[i]:
            return False
        i += 1
    return True


cdef inline uint8_t slot_of(const char *name, size_t n) noexcept nogil:
    """A perfect hash of the known names (checked at import), n >= 2."""
    return (
        n * 5
        + <uint8_t>(name[0] | 0x20) * 2
        + <uint8_t>(name[n - 1] | 0x20) * 24
        + <uint8_t>(name[n - 2] | 0x20) * 5
    ) & 63


cdef HeaderId header_id(const char *name, size_t n) noexcept nogil:
    """Which name with a rule this is, in any case; `name` must be a token."""
    cdef Name *known
    if 2 <= n < sizeof(NAMES[0].text):
        known = &NAMES[slot_of(name, n)]
        if known.len == n and folds_to(name, known.text, n):
            return <HeaderId>known.id
    if n >= 12 and name[0] | 0x20 == c"x" and folds_to(name, "x-forwarded-", 12):
        return H_X_FORWARDED_OTHER
    return H_OTHER


cdef inline uint8_t lower(char c) noexcept nogil:
    return c | 0x20 if c"A" <= c <= c"Z" else c


cdef bint same_name(const char *a, const char *b, size_t n) noexcept nogil:
    """Whether two names of n bytes are the same but for the case of letters."""
    cdef size_t i
    for i in range(n):
        if a[i] != b[i] and lower(a[i]) != lower(b[i]):
            return False
    return True


cdef bint has_underscore(const char *name, size_t n) noexcept nogil:
    """Whether a name has a `_`, which CGI-like origins read as "-"."""
    cdef uint64_t ones = <uint64_t>0x0101010101010101ULL
    cdef uint64_t word
    cdef uint64_t hit = 0
    cdef size_t i = 0
    if n < 8:
        while i < n:
            hit |= name[i] == c"_"
            i += 1
        return hit != 0
    while True:
        word = load8(name + i) ^ (ones * c"_")
        hit |= (word - ones) & ~word & (ones << 7)
        if i + 8 >= n:
            return hit != 0
        i = i + 8 if i + 16 <= n else n - 8


# --- llhttp's callbacks --------------------------------------------------------
# RECORD runs over one contiguous buffer, where each element is exactly one span; a
# piece can only end at the buffer's end, and then the record is thrown away.


cdef int record_url(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Head *h = <Head *>(<LlhttpFields *>parser).data
    h.target = at
    h.target_len = <uint32_t>n
    return HPE_OK


cdef int record_reason(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Head *h = <Head *>(<LlhttpFields *>parser).data
    h.reason = at
    h.reason_len = <uint32_t>n
    return HPE_OK


cdef int record_name(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Head *h = <Head *>(<LlhttpFields *>parser).data
    cdef Field *f = &h.fields[h.n_fields]
    f.name = at
    f.name_len = <uint16_t>n
    return HPE_OK


cdef int record_value(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Head *h = <Head *>(<LlhttpFields *>parser).data
    cdef Field *f = &h.fields[h.n_fields]
    if h.n_fields >= (<Parser *>parser).max_fields:
        return HPE_USER
    f.value = at
    f.value_len = <uint32_t>n
    h.n_fields += 1
    return HPE_OK


cdef int stop_here(void *parser) noexcept nogil:
    return HPE_PAUSED


cdef int skip_url(void *parser, const char *at, size_t n) noexcept nogil:
    (<Parser *>parser).target_bytes += <uint32_t>n
    return HPE_OK


cdef int skip_name(void *parser, const char *at, size_t n) noexcept nogil:
    (<Parser *>parser).in_value = False
    return HPE_OK


cdef int skip_value(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Parser *p = <Parser *>parser
    if not p.in_value:
        if p.n_fields >= p.max_fields:
            return HPE_USER
        p.n_fields += 1
        p.in_value = True
    return HPE_OK


# --- from llhttp's verdict to a Fault ------------------------------------------


cdef int unknown_method(const char *line, size_t n) noexcept nogil:
    """What a method that llhttp refused is: one of another protocol, or garbage.

    Told by the whole token, so it may have to wait for the token's end.
    """
    cdef size_t i = 0
    while i < n and TOKEN[<uint8_t>line[i]]:
        if i == MAX_METHOD_BYTES:
            return FAULT_METHOD_UNKNOWN
        i += 1
    if i == n:
        return FAULT_PARTIAL
    if i > 0 and line[i] == c" ":
        return FAULT_METHOD_UNKNOWN
    return FAULT_BAD_REQUEST


cdef bint ends_in_version(const char *line, const char *end) noexcept nogil:
    """Whether the text before `end` ends in HTTP/d.d of a version we do not speak."""
    cdef const char *version = end - 8
    if end - line < 8 or memcmp(version, b"HTTP/", 5) != 0 or version[6] != c".":
        return False
    if not (c"0" <= version[5] <= c"9" and c"0" <= version[7] <= c"9"):
        return False
    return version[5] != c"1" or (version[7] != c"0" and version[7] != c"1")


cdef size_t target_extent(const char *line, const char *end) noexcept nogil:
    """Bytes of the target between its start and `end`, by the line's blanks."""
    cdef const char *at = line
    cdef const char *start
    while at < end and TOKEN[<uint8_t>at[0]]:
        at += 1
    while at < end and at[0] == c" ":
        at += 1
    start = at
    while at < end and at[0] != c" " and at[0] != c"\r" and at[0] != c"\n":
        at += 1
    return at - start


cdef int refused(
    Parser *p, const HeadLimits *limits, int error,
    const char *line, const char *buf, size_t n
) noexcept nogil:
    """The Fault of an error of llhttp in a request head; may be FAULT_PARTIAL."""
    cdef const char *at
    cdef int method
    if error == HPE_INVALID_METHOD:
        # Asked again on every call until the token ends: error_pos is stale then.
        return unknown_method(line, buf + n - line)
    # Never trust a position further than the buffer it must lie in.
    at = llhttp_get_error_pos(p.llhttp)
    if at < line or at > buf + n:
        return FAULT_BAD_REQUEST
    if target_extent(line, at) > limits.max_target_bytes:
        return FAULT_TARGET_TOO_LONG
    method = llhttp_get_method(p.llhttp)
    if error == HPE_USER:
        return FAULT_TOO_MANY_FIELDS
    if error == HPE_INVALID_URL:
        return FAULT_BAD_TARGET
    if error == HPE_PAUSED_H2_UPGRADE:
        return FAULT_VERSION
    if error == HPE_INVALID_VERSION:
        if method == METHOD_PRI or ends_in_version(line, at):
            return FAULT_VERSION
        return FAULT_BAD_REQUEST
    if error == HPE_INVALID_CONSTANT:
        # "DESCRIBE / HTTP/1.1": a method that llhttp knows from RTSP.
        if method >= N_METHODS or METHODS[method].name is NULL:
            return FAULT_METHOD_UNKNOWN
        return FAULT_BAD_REQUEST
    if (
        error == HPE_INVALID_CONTENT_LENGTH
        or error == HPE_UNEXPECTED_CONTENT_LENGTH
        or error == HPE_INVALID_TRANSFER_ENCODING
    ):
        return FAULT_BAD_FRAMING
    return FAULT_BAD_REQUEST


# --- fields --------------------------------------------------------------------


cdef inline bint is_blank(char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef uint32_t sort_fields(Head *h, bint response) noexcept nogil:
    """Trim values, give ids, fill field_of; returns the ids seen twice, as bits."""
    cdef uint32_t doubled = 0
    cdef int i
    cdef int id
    cdef Field *f
    memset(h.field_of, 0xFF, sizeof(h.field_of))
    for i in range(h.n_fields):
        f = &h.fields[i]
        while f.value_len > 0 and is_blank(f.value[f.value_len - 1]):
            f.value_len -= 1
        id = header_id(f.name, f.name_len)
        f.id = <uint8_t>id
        if id == H_OTHER:
            # Responses keep such names: no origin reads them for another.
            f.dropped = not response and has_underscore(f.name, f.name_len)
            continue
        f.dropped = DROPPED[id]
        if h.field_of[id] < 0:
            h.field_of[id] = i
        else:
            doubled |= <uint32_t>1 << id
    return doubled


cdef inline int first(const Head *h, int id) noexcept nogil:
    """The index of the first field with that id, or -1."""
    return h.field_of[id]


cdef bint value_is(const Field *f, const char *text, size_t n) noexcept nogil:
    return f.value_len == n and same_name(f.value, text, n)


cdef int judge_coding(const Field *f) noexcept nogil:
    """The fault of a Transfer-Encoding that is not exactly `chunked`.

    A well-formed list of other codings that ends in `chunked` is one that we do not
    implement; anything else is malformed (RFC 9112 section 6.1).
    """
    cdef const char *at = f.value
    cdef const char *end = at + f.value_len
    cdef const char *token
    cdef size_t n
    cdef bint chunked = False
    while True:
        while at < end and is_blank(at[0]):
            at += 1
        token = at
        while at < end and TOKEN[<uint8_t>at[0]]:
            at += 1
        n = at - token
        if n == 0 or chunked or (n == 8 and same_name(token, "identity", 8)):
            return FAULT_BAD_FRAMING
        chunked = n == 7 and same_name(token, "chunked", 7)
        while at < end and is_blank(at[0]):
            at += 1
        if at == end:
            return FAULT_TRANSFER_CODING if chunked else FAULT_BAD_FRAMING
        if at[0] != c",":
            return FAULT_BAD_FRAMING
        at += 1


cdef int64_t read_length(const Field *f) noexcept nogil:
    """A Content-Length of digits only; -1 when it is none or past int64."""
    cdef int64_t length = 0
    cdef uint32_t i
    if f.value_len == 0 or f.value_len > 18:
        return -1
    for i in range(f.value_len):
        if not c"0" <= f.value[i] <= c"9":
            return -1
        length = length * 10 + (f.value[i] - c"0")
    return length


cdef int read_framing(Head *h, uint32_t doubled) noexcept nogil:
    """Fill content_length and chunked (RFC 9112 section 6.3); exactly one of them."""
    cdef int coding = first(h, H_TRANSFER_ENCODING)
    cdef int length = first(h, H_CONTENT_LENGTH)
    h.content_length = -1
    h.chunked = False
    if doubled & (1 << H_CONTENT_LENGTH | 1 << H_TRANSFER_ENCODING):
        return FAULT_BAD_FRAMING
    if coding >= 0:
        if length >= 0 or h.minor == 0:
            return FAULT_BAD_FRAMING
        if not value_is(&h.fields[coding], "chunked", 7):
            return judge_coding(&h.fields[coding])
        h.chunked = True
    elif length >= 0:
        h.content_length = read_length(&h.fields[length])
        if h.content_length < 0:
            return FAULT_BAD_FRAMING
    return FAULT_NONE


cdef bint drop_listed(
    Head *h, const char *token, size_t n, bint response
) noexcept nogil:
    """Mark the fields that Connection lists; False when it may not list that one."""
    cdef int id = header_id(token, n)
    cdef int i
    cdef Field *f
    if NOT_LISTABLE[id]:
        # An upstream that lists one only loses its say in the matter.
        return response
    for i in range(h.n_fields):
        f = &h.fields[i]
        if f.id == id and f.name_len == n and same_name(f.name, token, n):
            f.dropped = True
    return True


cdef int read_connection(Head *h, bint response) noexcept nogil:
    """The options of all Connection fields as CONNECTION_* bits; -1: malformed.

    Source: RFC 9110 section 7.6.1.
    """
    cdef int options = 0
    cdef int listed = 0
    cdef int i
    cdef const char *at
    cdef const char *end
    cdef const char *token
    cdef size_t n
    for i in range(first(h, H_CONNECTION), h.n_fields):
        if h.fields[i].id != H_CONNECTION:
            continue
        at = h.fields[i].value
        end = at + h.fields[i].value_len
        while at < end:
            if at[0] == c"," or is_blank(at[0]):
                at += 1
                continue
            token = at
            while at < end and TOKEN[<uint8_t>at[0]]:
                at += 1
            n = at - token
            while at < end and is_blank(at[0]):
                at += 1
            if n == 0 or (at < end and at[0] != c","):
                return -1
            if n == 10 and same_name(token, "keep-alive", 10):
                options |= CONNECTION_KEEP_ALIVE
            elif n == 5 and same_name(token, "close", 5):
                options |= CONNECTION_CLOSE
            elif n == 7 and same_name(token, "upgrade", 7):
                options |= CONNECTION_UPGRADE
            else:
                listed += 1
                if listed > MAX_LISTED or not drop_listed(h, token, n, response):
                    return -1
    return options


cdef bint names_h2c(const char *at, size_t n) noexcept nogil:
    """Whether an Upgrade value lists h2c, which is never passed on."""
    cdef size_t i
    for i in range(3, n + 1):
        if same_name(at + i - 3, "h2c", 3):
            return True
    return False


cdef int read_options(Head *h, uint32_t doubled, bint response) noexcept nogil:
    """Fill keep_alive, upgrade and upgrade_value from Connection and Upgrade."""
    cdef int options = 0
    cdef int upgrade = first(h, H_UPGRADE)
    if first(h, H_CONNECTION) >= 0:
        options = read_connection(h, response)
        if options < 0:
            return FAULT_BAD_CONNECTION
    # RFC 9112 section 9.3.
    h.keep_alive = not options & CONNECTION_CLOSE and (
        h.minor == 1 or options & CONNECTION_KEEP_ALIVE
    )
    h.upgrade_value = NULL
    h.upgrade_len = 0
    h.upgrade = False
    if upgrade < 0:
        return FAULT_NONE
    h.upgrade_value = h.fields[upgrade].value
    h.upgrade_len = h.fields[upgrade].value_len
    h.upgrade = (
        h.minor == 1
        and options & CONNECTION_UPGRADE
        and not doubled & (1 << H_UPGRADE)
        and h.upgrade_len > 0
        and first(h, H_HTTP2_SETTINGS) < 0
        and not names_h2c(h.upgrade_value, h.upgrade_len)
    )
    return FAULT_NONE


# --- requests ------------------------------------------------------------------


cdef int check_request_line(Head *h, const char *line, const char *end) noexcept nogil:
    """Exactly `method SP target SP HTTP/1.x CRLF`; fills method, minor and line.

    llhttp also takes more than one blank, no version at all, and other versions.
    """
    cdef const char *after = h.target + h.target_len
    cdef const Method *method
    if h.target_len == 0 or end - after < 13:
        return FAULT_BAD_REQUEST
    if memcmp(after, b" HTTP/", 6) != 0 or memcmp(after + 9, b"\r\n", 2) != 0:
        return FAULT_BAD_REQUEST
    if ends_in_version(line, after + 9):
        return FAULT_VERSION
    h.minor = after[8] == c"1"
    h.line = line
    h.line_len = <uint32_t>(after + 9 - line)
    if h.method >= N_METHODS:
        return FAULT_METHOD_UNKNOWN
    method = &METHODS[h.method]
    if method.name is NULL:
        return FAULT_METHOD_UNKNOWN
    if (
        h.target - line != method.len + 1
        or memcmp(line, method.name, method.len) != 0
        or line[method.len] != c" "
    ):
        return FAULT_BAD_REQUEST
    if h.method == METHOD_CONNECT:
        return FAULT_METHOD_CONNECT
    h.method_name = method.name
    h.method_len = method.len
    h.idempotent = method.idempotent
    return FAULT_NONE


cdef int read_host(Head *h, uint32_t doubled, HostForm *host) noexcept nogil:
    """Fill host and authority from Host; HTTP/1.0 may have none."""
    cdef int index = first(h, H_HOST)
    host.host_len = host.authority_len = 0
    host.host = host.authority = h.canon
    host.port = 0
    if doubled & (1 << H_HOST):
        return FAULT_BAD_HOST
    if index < 0:
        return FAULT_BAD_HOST if h.minor == 1 else FAULT_NONE
    return canonical_host(
        h.fields[index].value, h.fields[index].value_len, h.canon, host
    )


cdef int read_target(
    Head *h, const HeadLimits *limits, HostForm *host
) noexcept nogil:
    """Fill path and query from any form of target, and host from absolute-form.

    Source: RFC 9112 section 3.2.
    """
    cdef TargetForm form
    cdef HostForm named
    cdef const char *at = h.target
    cdef const char *end = at + h.target_len
    cdef const char *start
    cdef int default_port
    cdef int fault
    form.query = end
    form.query_len = 0
    if at[0] == c"*":
        if h.target_len != 1 or h.method != METHOD_OPTIONS:
            return FAULT_BAD_TARGET
        form.path = at
        form.path_len = 1
    else:
        if at[0] != c"/":
            if h.target_len > 7 and same_name(at, "http://", 7):
                at += 7
                default_port = 80
            elif h.target_len > 8 and same_name(at, "https://", 8):
                at += 8
                default_port = 443
            else:
                return FAULT_BAD_TARGET
            start = at
            while at < end and at[0] != c"/" and at[0] != c"?" and at[0] != c"#":
                at += 1
            if canonical_host(start, at - start, h.canon + HOST_ROOM, &named):
                return FAULT_BAD_TARGET
            if first(h, H_HOST) < 0:
                host[0] = named
            elif (
                named.host_len != host.host_len
                or memcmp(named.host, host.host, host.host_len) != 0
                or (named.port or default_port) != (host.port or default_port)
            ):
                return FAULT_BAD_HOST
        if at < end and at[0] == c"/":
            fault = canonical_target(
                at, end - at, limits.keep_ambiguous_paths,
                h.canon + 2 * HOST_ROOM, MAX_HEAD_BYTES - 2 * HOST_ROOM, &form
            )
        else:
            # Absolute-form without a path: "/" is as good, save for OPTIONS.
            fault = canonical_target("/", 1, False, NULL, 0, &form)
            if at < end:
                h.canon[2 * HOST_ROOM] = c"/"
                memcpy(h.canon + 2 * HOST_ROOM + 1, at, end - at)
                fault = canonical_target(
                    h.canon + 2 * HOST_ROOM, end - at + 1, False, NULL, 0, &form
                )
            elif h.method == METHOD_OPTIONS:
                form.path = "*"
        if fault != FAULT_NONE:
            return fault
    h.path = form.path
    h.path_len = <uint32_t>form.path_len
    h.query = form.query
    h.query_len = <uint32_t>form.query_len
    h.host = host.host
    h.host_len = <uint32_t>host.host_len
    h.authority = host.authority
    h.authority_len = <uint32_t>host.authority_len
    return FAULT_NONE


cdef int read_expect(Head *h) noexcept nogil:
    """Fill expect_continue (RFC 9110 section 10.1.1; HTTP/1.0 is not asked)."""
    cdef int i
    h.expect_continue = False
    if first(h, H_EXPECT) < 0:
        return FAULT_NONE
    for i in range(first(h, H_EXPECT), h.n_fields):
        if h.fields[i].id == H_EXPECT:
            if not value_is(&h.fields[i], "100-continue", 12):
                return FAULT_EXPECTATION
    h.expect_continue = h.minor == 1
    return FAULT_NONE


cdef int finish_request(
    Parser *p, Head *h, const HeadLimits *limits, const char *line, const char *end
) noexcept nogil:
    """Judge a request head that llhttp took, line[:end - line], and complete `h`."""
    cdef HostForm host
    cdef uint32_t doubled
    cdef int fault
    if h.target_len > limits.max_target_bytes:
        return FAULT_TARGET_TOO_LONG
    h.method = <uint8_t>llhttp_get_method(p.llhttp)
    fault = check_request_line(h, line, end)
    if fault != FAULT_NONE:
        return fault
    doubled = sort_fields(h, False)
    h.status = 0
    h.reason_len = 0
    h.reason = NULL
    fault = read_framing(h, doubled)
    if fault == FAULT_NONE:
        fault = read_host(h, doubled, &host)
    if fault == FAULT_NONE:
        fault = read_target(h, limits, &host)
    if fault == FAULT_NONE:
        fault = read_options(h, doubled, False)
    if fault == FAULT_NONE:
        fault = read_expect(h)
    h.has_body = h.chunked or h.content_length > 0
    if h.has_body:
        h.upgrade = False
    return fault


# --- responses -----------------------------------------------------------------


cdef int check_status_line(Head *h, const char *line, const char *end) noexcept nogil:
    """`HTTP/1.x SP 3digits [SP reason] CRLF`; fills minor, status, line and reason."""
    cdef int status = 0
    cdef int i
    cdef const char *eol
    if end - line < 16 or memcmp(line, b"HTTP/1.", 7) != 0 or line[8] != c" ":
        return FAULT_UPSTREAM_BAD
    if line[7] != c"0" and line[7] != c"1":
        return FAULT_UPSTREAM_BAD
    for i in range(9, 12):
        if not c"0" <= line[i] <= c"9":
            return FAULT_UPSTREAM_BAD
        status = status * 10 + (line[i] - c"0")
    if status < 100 or status > 599:
        return FAULT_UPSTREAM_BAD
    eol = <const char *>memchr(line + 12, c"\r", end - line - 12)
    if eol is NULL or (eol != line + 12 and line[12] != c" "):
        return FAULT_UPSTREAM_BAD
    h.minor = line[7] == c"1"
    h.status = <uint16_t>status
    h.line = line
    h.line_len = <uint32_t>(eol - line)
    h.reason = eol if eol == line + 12 else line + 13
    h.reason_len = <uint32_t>(eol - h.reason)
    # llhttp takes any byte in a reason phrase.
    for i in range(<int>h.reason_len):
        if h.reason[i] == 0x7F or (
            0 <= h.reason[i] < 0x20 and h.reason[i] != c"\t"
        ):
            return FAULT_UPSTREAM_BAD
    return FAULT_NONE


cdef int finish_response(Head *h, const char *line, const char *end) noexcept nogil:
    """Judge a response head that llhttp took, and complete `h`."""
    cdef uint32_t doubled
    if check_status_line(h, line, end) != FAULT_NONE:
        return FAULT_UPSTREAM_BAD
    h.method = 0
    h.method_name = NULL
    h.method_len = 0
    h.idempotent = False
    h.expect_continue = False
    h.has_body = False
    h.target = h.path = h.query = h.host = h.authority = NULL
    h.target_len = h.path_len = h.query_len = h.host_len = h.authority_len = 0
    doubled = sort_fields(h, True)
    if read_framing(h, doubled) != FAULT_NONE:
        return FAULT_UPSTREAM_BAD
    if read_options(h, doubled, True) != FAULT_NONE:
        return FAULT_UPSTREAM_BAD
    h.upgrade = h.upgrade and h.status == 101
    return FAULT_NONE


# --- the doors -----------------------------------------------------------------


cdef void parser_init(Parser *p, bint response) noexcept nogil:
    """Make `p` ready for one side of a connection; once, it needs no release."""
    memset(p, 0, sizeof(Parser))
    p.response = response


cdef int leading_blank(const char *buf, size_t n) noexcept nogil:
    """Bytes of one empty line before a request (RFC 9112 section 2.2), or -1.

    A second one, or half of one, is refused; llhttp would take any number.
    """
    if buf[0] == c"\n":
        return -1
    if buf[0] != c"\r":
        return 0
    if n > 1 and buf[1] != c"\n":
        return -1
    if n > 2 and (buf[2] == c"\r" or buf[2] == c"\n"):
        return -1
    return 2 if n > 2 else <int>n


cdef int run_head(
    Parser *p, Head *h, const HeadLimits *limits, const char *buf, size_t n
) noexcept nogil:
    """One recording pass of llhttp over a head from its start; llhttp's error."""
    cdef LlhttpFields *fields = <LlhttpFields *>p.llhttp
    llhttp_init(
        p.llhttp, LLHTTP_RESPONSE if p.response else LLHTTP_REQUEST, &RECORD
    )
    fields.data = h
    h.n_fields = 0
    h.target_len = 0
    h.reason_len = 0
    p.max_fields = <uint16_t>min(limits.max_fields, <uint32_t>(MAX_FIELDS - 1))
    return llhttp_execute(p.llhttp, buf, n)


cdef void keep_counts(Parser *p, const Head *h, const char *end) noexcept nogil:
    """After a recording pass that ended early: what the skipping ones go on from."""
    cdef const Field *last
    (<LlhttpFields *>p.llhttp).settings = &SKIP
    p.target_bytes = h.target_len
    p.n_fields = h.n_fields
    p.in_value = False
    if h.n_fields > 0:
        last = &h.fields[h.n_fields - 1]
        p.in_value = last.value + last.value_len == end


cdef int parse_head(
    Parser *p, Head *h, const HeadLimits *limits,
    const char *buf, size_t n, size_t already, size_t *consumed
) noexcept nogil:
    """Read one message head from the start of `buf`.

    buf, n    all bytes of the message that have arrived; spans in `h` point into it
    already   how many of them earlier calls have seen, 0 for a new message
    consumed  set to the head's length when it is complete, otherwise to 0
    returns   FAULT_NONE: `h` is complete. FAULT_PARTIAL: call again with more, no
              byte changed and `already` = this n. Otherwise the fault, for good;
              of a response it is always FAULT_UPSTREAM_BAD

    The same bytes give the same answer however they were cut, at a cost linear in n.
    """
    cdef size_t fed = min(n, <size_t>limits.max_head_bytes)
    cdef const char *line = buf
    cdef const char *end
    cdef int blank
    cdef int error
    cdef int fault
    consumed[0] = 0
    if n == 0:
        return FAULT_PARTIAL
    blank = leading_blank(buf, fed)
    if p.response and blank != 0:
        return FAULT_UPSTREAM_BAD
    if blank < 0:
        return FAULT_BAD_REQUEST
    line += blank

    if already == 0:
        p.body_bytes = 0
        p.framing_bytes = 0
        p.trailer_bytes = 0
        p.in_trailer = False
        error = run_head(p, h, limits, buf, fed)
        if error == HPE_OK:
            keep_counts(p, h, buf + fed)
    else:
        (<LlhttpFields *>p.llhttp).data = NULL
        error = HPE_OK
        if fed > already:
            error = llhttp_execute(p.llhttp, buf + already, fed - already)
        if error == HPE_PAUSED:
            error = run_head(p, h, limits, buf, fed)

    if error == HPE_PAUSED:
        end = llhttp_get_error_pos(p.llhttp)
        if p.response:
            fault = finish_response(h, line, end)
        else:
            fault = finish_request(p, h, limits, line, end)
        if fault == FAULT_NONE:
            consumed[0] = end - buf
        return fault
    if p.response:
        if error != HPE_OK or n >= limits.max_head_bytes:
            return FAULT_UPSTREAM_BAD
        return FAULT_PARTIAL
    fault = FAULT_PARTIAL
    if error != HPE_OK:
        fault = refused(p, limits, error, line, buf, fed)
    elif p.target_bytes > limits.max_target_bytes:
        fault = FAULT_TARGET_TOO_LONG
    if fault == FAULT_PARTIAL and n >= limits.max_head_bytes:
        if memchr(line, c"\n", buf + fed - line) is NULL:
            return FAULT_TARGET_TOO_LONG
        return FAULT_HEAD_TOO_LARGE
    return fault


# --- chunked bodies ------------------------------------------------------------


cdef struct Run:                # of one call of read_chunked
    const char *buf
    char *body                  # where the compacted body starts; NULL: none yet
    size_t body_len


cdef bint is_overhead(const Parser *p, size_t body, size_t framing) noexcept nogil:
    """Whether chunk lines cost more than what they frame (THREATS: CVE-2024-22019)."""
    cdef int64_t total = p.framing_bytes + <int64_t>framing
    return total > FREE_FRAMING_BYTES and total > p.body_bytes + <int64_t>body


cdef int body_piece(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Run *run = <Run *>(<LlhttpFields *>parser).data
    if is_overhead(<Parser *>parser, run.body_len, at - run.buf - run.body_len):
        return HPE_USER
    if run.body is NULL:
        run.body = <char *>at
    elif run.body + run.body_len != at:
        memmove(run.body + run.body_len, at, n)
    run.body_len += n
    return HPE_OK


cdef int chunk_line(void *parser) noexcept nogil:
    """Stop after the last chunk's line, where the trailer section begins."""
    if (<LlhttpFields *>parser).content_length == 0:
        return HPE_PAUSED
    return HPE_OK


cdef int trailer_name(void *parser, const char *at, size_t n) noexcept nogil:
    """Collect the first bytes of a name, which may come in pieces."""
    cdef Parser *p = <Parser *>parser
    cdef size_t have
    if p.in_value:
        p.in_value = False
        p.trailer_name_len = 0
    have = p.trailer_name_len
    if have < sizeof(p.trailer_name):
        memcpy(
            p.trailer_name + have, at, min(n, sizeof(p.trailer_name) - have)
        )
    p.trailer_name_len = <uint8_t>min(have + n, <size_t>255)
    return HPE_OK


cdef int trailer_value(void *parser, const char *at, size_t n) noexcept nogil:
    """Judge the name once its value begins (RFC 9110 section 6.5.1)."""
    cdef Parser *p = <Parser *>parser
    cdef const char *name = p.trailer_name
    cdef size_t length = p.trailer_name_len
    if p.in_value:
        return HPE_OK
    p.in_value = True
    if (
        NOT_A_TRAILER[<int>header_id(name, min(length, sizeof(p.trailer_name)))]
        or (length >= 8 and same_name(name, "content-", 8))
        or (length >= 6 and same_name(name, "proxy-", 6))
        or (length >= 10 and same_name(name, "set-cookie", 10))
    ):
        return HPE_USER
    return HPE_OK


cdef int read_chunked(
    Parser *p, char *buf, size_t n,
    size_t *consumed, size_t *body_at, size_t *body_len, bint *done
) noexcept nogil:
    """Go on with the chunked body that follows the head last read by `p`.

    buf, n    the next bytes; changed in place, so that the body's bytes in them lie
              together: buf[body_at[0]:][:body_len[0]]. What else is consumed is lost
    consumed  all n, or up to the end of the message when done
    done      whether the message is complete: last chunk and trailer section read
    returns   FAULT_NONE, or FAULT_BAD_CHUNK or FAULT_BAD_TRAILER for good

    Chunk extensions and trailers are dropped. Framing may not cost more bytes than
    the body, beyond FREE_FRAMING_BYTES; anything wrong after the last chunk's line
    is FAULT_BAD_TRAILER.
    """
    cdef LlhttpFields *fields = <LlhttpFields *>p.llhttp
    cdef Run run
    cdef size_t at = 0
    cdef int error
    consumed[0] = 0
    body_at[0] = 0
    body_len[0] = 0
    done[0] = False
    if n == 0:
        return FAULT_NONE
    run.buf = buf
    run.body = NULL
    run.body_len = 0
    fields.data = &run
    fields.settings = &BODY
    llhttp_resume(p.llhttp)
    if not p.in_trailer:
        error = llhttp_execute(p.llhttp, buf, n)
        if error != HPE_OK and error != HPE_PAUSED:
            return FAULT_BAD_CHUNK
        at = n
        if error == HPE_PAUSED:
            at = llhttp_get_error_pos(p.llhttp) - buf
        if is_overhead(p, run.body_len, at - run.body_len):
            return FAULT_BAD_CHUNK
        p.body_bytes += run.body_len
        p.framing_bytes += at - run.body_len
        if run.body_len > 0:
            body_at[0] = run.body - buf
            body_len[0] = run.body_len
        consumed[0] = at
        if error == HPE_OK:
            return FAULT_NONE
        p.in_trailer = True
        p.in_value = True       # so that the first name starts afresh
        llhttp_resume(p.llhttp)
    error = llhttp_execute(p.llhttp, buf + at, n - at)
    if error == HPE_PAUSED:
        done[0] = True
        n = llhttp_get_error_pos(p.llhttp) - buf
    elif error != HPE_OK:
        return FAULT_BAD_TRAILER
    p.trailer_bytes += <uint32_t>(n - at)
    if p.trailer_bytes > MAX_TRAILER_BYTES:
        done[0] = False
        return FAULT_BAD_TRAILER
    consumed[0] = n
    return FAULT_NONE


# --- tables, filled at import --------------------------------------------------

KNOWN_METHODS = (
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND"
    b" PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT"
    b" MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK"
    b" UNLINK"
).split()
# Safe, or replacing a whole resource: sent twice, they do what once would have. Of
# the IANA registry's list we leave out those whose repetition answers otherwise.
IDEMPOTENT = (
    b"DELETE GET HEAD PUT OPTIONS TRACE PROPFIND SEARCH REPORT QUERY"
).split()
QUERY = b"QUERY"
QUERY_NUMBER = 46

KNOWN_NAMES = {
    b"host": H_HOST,
    b"content-length": H_CONTENT_LENGTH,
    b"transfer-encoding": H_TRANSFER_ENCODING,
    b"connection": H_CONNECTION,
    b"keep-alive": H_KEEP_ALIVE,
    b"proxy-connection": H_PROXY_CONNECTION,
    b"proxy-authenticate": H_PROXY_AUTHENTICATE,
    b"proxy-authorization": H_PROXY_AUTHORIZATION,
    b"te": H_TE,
    b"trailer": H_TRAILER,
    b"upgrade": H_UPGRADE,
    b"http2-settings": H_HTTP2_SETTINGS,
    b"expect": H_EXPECT,
    b"x-forwarded-for": H_X_FORWARDED_FOR,
    b"x-forwarded-proto": H_X_FORWARDED_PROTO,
    b"x-forwarded-host": H_X_FORWARDED_HOST,
    b"x-forwarded-port": H_X_FORWARDED_PORT,
    b"x-forwarded-prefix": H_X_FORWARDED_PREFIX,
    b"x-real-ip": H_X_REAL_IP,
    b"forwarded": H_FORWARDED,
    b"x-request-id": H_X_REQUEST_ID,
    b"via": H_VIA,
    b"server": H_SERVER,
    b"date": H_DATE,
    b"user-agent": H_USER_AGENT,
    b"referer": H_REFERER,
    b"authorization": H_AUTHORIZATION,
    b"cookie": H_COOKIE,
}


cdef void add_method(int number, bytes name) except *:
    METHODS[number].name = name     # kept alive by the tuples above
    METHODS[number].len = <uint8_t>len(name)
    METHODS[number].idempotent = name in IDEMPOTENT


cdef void add_name(bytes name, int id) except *:
    cdef Name *slot = &NAMES[slot_of(name, len(name))]
    assert slot.len == 0, f"{name!r} collides with another name: choose a new hash"
    assert len(name) < sizeof(slot.text)
    memcpy(slot.text, <const char *>name, len(name))
    slot.len = <uint8_t>len(name)
    slot.id = <uint8_t>id


def fill_tables() -> None:
    cdef int id
    memset(METHODS, 0, sizeof(METHODS))
    memset(NAMES, 0, sizeof(NAMES))
    for number, name in enumerate(KNOWN_METHODS):
        add_method(number, name)
    add_method(QUERY_NUMBER, QUERY)
    for name, id in KNOWN_NAMES.items():
        add_name(name, id)
    for byte in range(256):
        TOKEN[byte] = chr(byte).isalnum() and byte < 0x80
        TOKEN[byte] |= byte in b"!#$%&'*+-.^_`|~"
    for id in (
        H_CONNECTION, H_KEEP_ALIVE, H_PROXY_CONNECTION, H_PROXY_AUTHENTICATE,
        H_PROXY_AUTHORIZATION, H_TE, H_TRAILER, H_TRANSFER_ENCODING, H_UPGRADE,
        H_HTTP2_SETTINGS,
    ):
        DROPPED[id] = True
    for id in (
        H_HOST, H_CONTENT_LENGTH, H_TRANSFER_ENCODING, H_AUTHORIZATION, H_COOKIE,
        H_X_FORWARDED_FOR, H_X_FORWARDED_PROTO, H_X_FORWARDED_HOST,
        H_X_FORWARDED_PORT, H_X_FORWARDED_PREFIX, H_X_FORWARDED_OTHER, H_FORWARDED,
        H_X_REAL_IP, H_X_REQUEST_ID, H_VIA,
    ):
        NOT_LISTABLE[id] = True
    for id in range(1, H_COUNT):
        NOT_A_TRAILER[id] = id not in (H_SERVER, H_DATE, H_USER_AGENT, H_REFERER)


def fill_settings() -> None:
    llhttp_settings_init(&RECORD)
    RECORD.on_url = record_url
    RECORD.on_status = record_reason
    RECORD.on_header_field = record_name
    RECORD.on_header_value = record_value
    RECORD.on_headers_complete = stop_here
    llhttp_settings_init(&SKIP)
    SKIP.on_url = skip_url
    SKIP.on_header_field = skip_name
    SKIP.on_header_value = skip_value
    SKIP.on_headers_complete = stop_here
    llhttp_settings_init(&BODY)
    BODY.on_body = body_piece
    BODY.on_chunk_header = chunk_line
    BODY.on_header_field = trailer_name
    BODY.on_header_value = trailer_value
    BODY.on_message_complete = stop_here


fill_tables()
fill_settings()
