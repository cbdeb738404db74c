"""What llhttp accepts of a head and we do not, and what a Head says beyond spans.

Runs in: worker. A head comes here once llhttp took it whole; each check cites where
its rule stands. What is refused is listed in tests/unit/dataplane/h1/test_parser.py.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastgate.dataplane.base.faults cimport (
    FAULT_BAD_CONNECTION, FAULT_BAD_FRAMING, FAULT_BAD_HOST, FAULT_BAD_REQUEST,
    FAULT_BAD_TARGET, FAULT_EXPECTATION, FAULT_METHOD_CONNECT,
    FAULT_METHOD_UNKNOWN, FAULT_NONE, FAULT_TARGET_TOO_LONG, FAULT_TRANSFER_CODING,
    FAULT_UPSTREAM_BAD, FAULT_VERSION,
)
from fastgate.dataplane.http.canonical cimport (
    HOST_ROOM, HostForm, TargetForm, canonical_host, canonical_target,
)
from fastgate.dataplane.http.fields cimport (
    drop_listed, same_name, sort_fields, token_end, value_is,
)
from fastgate.dataplane.http.message cimport (
    CANON_BYTES, MAX_HEAD_BYTES, Field, Head, HeadLimits, broke,
    H_HOST, H_CONTENT_LENGTH, H_TRANSFER_ENCODING, H_CONNECTION, H_UPGRADE,
    H_HTTP2_SETTINGS, H_EXPECT, UNDERSCORES_PASS, id_bit,
)
from fastgate.dataplane.http.methods cimport (
    METHOD_CONNECT, METHOD_OPTIONS, Method, http_method,
)

assert 2 * HOST_ROOM + MAX_HEAD_BYTES < CANON_BYTES

cdef enum:
    # Names that one message may list in Connection: each is compared with every
    # field, and real messages list three.
    MAX_LISTED = 32
    CONNECTION_CLOSE = 1
    CONNECTION_KEEP_ALIVE = 2
    CONNECTION_UPGRADE = 4

cdef const char *BESIDE = "Content-Length beside Transfer-Encoding"
cdef const char *NOT_A_METHOD = "the method is not one of HTTP or WebDAV"
cdef const char *NOT_A_HOST = "Host is no host[:port] of at most 255 bytes"
cdef const char *NOT_A_LENGTH = "Content-Length is no number of at most 18 digits"
cdef const char *NOT_A_REQUEST_LINE = "the request line is not `method target HTTP/1.x`"
cdef const char *NOT_A_STATUS_LINE = "the status line is not `HTTP/1.x status reason`"


cdef inline int first(const Head *h, int id) noexcept nogil:
    """The index of the first field with that id, or -1."""
    return h.field_of[id]


cdef inline bint is_blank(char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef inline int broke_in(
    Head *h, int fault, const char *rule, int id
) noexcept nogil:
    """`fault`, with the rule that the first field with that id broke."""
    cdef int i = first(h, id)
    return broke(h, fault, rule, h.start if i < 0 else h.fields[i].value)


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
        at = token_end(at, end)
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


cdef int read_framing(Head *h, uint64_t doubled, bint response) noexcept nogil:
    """Fill content_length and chunked (RFC 9112 section 6.3); exactly one of them.

    A response may say the same Content-Length more than once (RFC 9110 section 8.6).
    """
    cdef int i
    cdef int coding = first(h, H_TRANSFER_ENCODING)
    cdef int length = first(h, H_CONTENT_LENGTH)
    h.content_length = -1
    h.chunked = False
    if doubled & id_bit(H_CONTENT_LENGTH) and not response:
        return broke_in(
            h, FAULT_BAD_FRAMING, "more than one Content-Length", H_CONTENT_LENGTH
        )
    if doubled & id_bit(H_TRANSFER_ENCODING):
        return broke_in(
            h, FAULT_BAD_FRAMING, "more than one Transfer-Encoding",
            H_TRANSFER_ENCODING,
        )
    if coding >= 0:
        if length >= 0:
            return broke_in(h, FAULT_BAD_FRAMING, BESIDE, H_CONTENT_LENGTH)
        if h.minor == 0:
            return broke_in(
                h, FAULT_BAD_FRAMING, "Transfer-Encoding in HTTP/1.0",
                H_TRANSFER_ENCODING,
            )
        if not value_is(&h.fields[coding], "chunked", 7):
            return broke_in(
                h, judge_coding(&h.fields[coding]),
                "Transfer-Encoding is not just chunked", H_TRANSFER_ENCODING,
            )
        h.chunked = True
    elif length >= 0:
        h.content_length = read_length(&h.fields[length])
        if h.content_length < 0:
            return broke_in(h, FAULT_BAD_FRAMING, NOT_A_LENGTH, H_CONTENT_LENGTH)
        if doubled & id_bit(H_CONTENT_LENGTH):
            for i in range(length + 1, h.n_fields):
                if (
                    h.fields[i].id == H_CONTENT_LENGTH
                    and read_length(&h.fields[i]) != h.content_length
                ):
                    return broke(
                        h, FAULT_BAD_FRAMING, "two different Content-Lengths",
                        h.fields[i].value,
                    )
    return FAULT_NONE


cdef int read_connection(Head *h) noexcept nogil:
    """The options of all Connection fields as CONNECTION_* bits; -1: too many names.

    A member that is no name (`keep-alive; x`, `timeout=5`) is passed over.

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
            at = token_end(at, end)
            n = at - token
            while at < end and is_blank(at[0]):
                at += 1
            if n == 0 or (at < end and at[0] != c","):
                while at < end and at[0] != c",":
                    at += 1
                continue
            if n == 10 and same_name(token, "keep-alive", 10):
                options |= CONNECTION_KEEP_ALIVE
            elif n == 5 and same_name(token, "close", 5):
                options |= CONNECTION_CLOSE
            elif n == 7 and same_name(token, "upgrade", 7):
                options |= CONNECTION_UPGRADE
            else:
                listed += 1
                if listed > MAX_LISTED:
                    broke(h, 0, "Connection lists more than 32 names", token)
                    return -1
                drop_listed(h, token, n)
    return options


cdef bint names_h2c(const char *at, size_t n) noexcept nogil:
    """Whether an Upgrade value lists h2c, which is never passed on."""
    cdef size_t i
    for i in range(3, n + 1):
        if same_name(at + i - 3, "h2c", 3):
            return True
    return False


cdef int read_options(Head *h, uint64_t doubled) noexcept nogil:
    """Fill keep_alive, upgrade and upgrade_value from Connection and Upgrade."""
    cdef int options = 0
    cdef int upgrade = first(h, H_UPGRADE)
    if first(h, H_CONNECTION) >= 0:
        options = read_connection(h)
        if options < 0:
            return FAULT_BAD_CONNECTION
    # RFC 9112 section 9.3.
    h.keep_alive = not options & CONNECTION_CLOSE and (
        h.minor == 1 or options & CONNECTION_KEEP_ALIVE != 0
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
        and options & CONNECTION_UPGRADE != 0
        and not doubled & id_bit(H_UPGRADE)
        and h.upgrade_len > 0
        and first(h, H_HTTP2_SETTINGS) < 0
        and not names_h2c(h.upgrade_value, h.upgrade_len)
    )
    return FAULT_NONE


# --- requests ------------------------------------------------------------------


cdef int unknown_method(Head *h, const char *line, const char *end) noexcept nogil:
    """The fault of a method that we do not know, with its name in `h`."""
    h.method_name = line
    h.method_len = <uint32_t>(token_end(line, end) - line)
    return broke(h, FAULT_METHOD_UNKNOWN, NOT_A_METHOD, line)


cdef int check_request_line(
    Head *h, const char *line, const char *end
) noexcept nogil:
    """Exactly `method SP target SP HTTP/1.d CRLF`; fills method, minor and line.

    llhttp also takes more than one blank, no version at all, and other versions.
    A higher minor version is read as 1 (RFC 9110 section 2.5).
    """
    cdef const char *after = h.target + h.target_len
    cdef const Method *method = http_method(h.method)
    if h.target_len == 0 or end - after < 13:
        return broke(h, FAULT_BAD_REQUEST, NOT_A_REQUEST_LINE, line)
    if memcmp(after, b" HTTP/", 6) != 0 or memcmp(after + 9, b"\r\n", 2) != 0:
        return broke(h, FAULT_BAD_REQUEST, NOT_A_REQUEST_LINE, after)
    if after[6] != c"1":
        return broke(h, FAULT_VERSION, "another version than HTTP/1.x", after + 1)
    h.minor = after[8] != c"0"
    h.line = line
    h.line_len = <uint32_t>(after + 9 - line)
    if method is NULL:
        return unknown_method(h, line, end)
    if (
        h.target - line != method.len + 1
        or memcmp(line, method.name, method.len) != 0
        or line[method.len] != c" "
    ):
        return broke(h, FAULT_BAD_REQUEST, NOT_A_REQUEST_LINE, line)
    if h.method == METHOD_CONNECT:
        return broke(h, FAULT_METHOD_CONNECT, "CONNECT", line)
    h.method_name = method.name
    h.method_len = method.len
    h.idempotent = method.idempotent
    return FAULT_NONE


cdef int read_host(Head *h, uint64_t doubled, HostForm *host) noexcept nogil:
    """Fill host and authority from Host; HTTP/1.0 may have none."""
    cdef int index = first(h, H_HOST)
    host.host_len = host.authority_len = 0
    host.host = host.authority = h.canon
    host.port = 0
    if doubled & id_bit(H_HOST):
        return broke_in(h, FAULT_BAD_HOST, "more than one Host", H_HOST)
    if index < 0:
        if h.minor == 0:
            return FAULT_NONE
        return broke(h, FAULT_BAD_HOST, "no Host in HTTP/1.1", h.start)
    if canonical_host(
        h.fields[index].value, h.fields[index].value_len, h.canon, host
    ):
        return broke_in(h, FAULT_BAD_HOST, NOT_A_HOST, H_HOST)
    return FAULT_NONE


cdef int read_target(Head *h, HostForm *host) noexcept nogil:
    """Fill path, raw_path and query from any form of target, and host from
    absolute-form.

    Source: RFC 9112 sections 3.2 and 3.2.2.
    """
    cdef TargetForm form
    cdef HostForm named
    cdef const char *at = h.target
    cdef const char *end = at + h.target_len
    cdef const char *start
    cdef int fault
    form.query = end
    form.query_len = 0
    if at[0] == c"*":
        if h.target_len != 1 or h.method != METHOD_OPTIONS:
            return broke(
                h, FAULT_BAD_TARGET, "a target of * belongs to OPTIONS", h.target
            )
        form.path = at
        form.path_len = form.raw_len = 1
        form.odd = 0
    else:
        if at[0] != c"/":
            if h.target_len > 7 and same_name(at, "http://", 7):
                at += 7
            elif h.target_len > 8 and same_name(at, "https://", 8):
                at += 8
            else:
                return broke(
                    h, FAULT_BAD_TARGET, "the target is no path and no http URL", at
                )
            start = at
            while at < end and at[0] != c"/" and at[0] != c"?" and at[0] != c"#":
                at += 1
            if canonical_host(start, at - start, h.canon + HOST_ROOM, &named):
                return broke(
                    h, FAULT_BAD_TARGET, "the target's host is no host[:port]", start
                )
            # Whatever Host says, the target's authority takes its place.
            host[0] = named
        if at < end and at[0] == c"/":
            fault = canonical_target(
                at, end - at,
                h.canon + 2 * HOST_ROOM, CANON_BYTES - 2 * HOST_ROOM, &form
            )
        else:
            # Absolute-form without a path: "/" is as good, save for OPTIONS.
            fault = canonical_target("/", 1, NULL, 0, &form)
            if at < end:
                h.canon[2 * HOST_ROOM] = c"/"
                memcpy(h.canon + 2 * HOST_ROOM + 1, at, end - at)
                fault = canonical_target(
                    h.canon + 2 * HOST_ROOM, end - at + 1, NULL, 0, &form
                )
            elif h.method == METHOD_OPTIONS:
                form.path = "*"
            at = form.path
        if fault != FAULT_NONE:
            return broke(h, fault, "the path is malformed or leaves the root", at)
    h.path = form.path
    h.path_len = <uint32_t>form.path_len
    h.raw_path = at
    h.raw_path_len = <uint32_t>form.raw_len
    h.odd = form.odd
    h.query = form.query
    h.query_len = <uint32_t>form.query_len
    h.host = host.host
    h.host_len = <uint32_t>host.host_len
    h.authority = host.authority
    h.authority_len = <uint32_t>host.authority_len
    return FAULT_NONE


cdef int check_expect(Head *h) noexcept nogil:
    """Know 100-continue, and no other expectation (RFC 9110 section 10.1.1)."""
    cdef int i
    if first(h, H_EXPECT) < 0:
        return FAULT_NONE
    for i in range(first(h, H_EXPECT), h.n_fields):
        if h.fields[i].id == H_EXPECT:
            if not value_is(&h.fields[i], "100-continue", 12):
                return broke(
                    h, FAULT_EXPECTATION, "Expect is not 100-continue",
                    h.fields[i].value,
                )
    return FAULT_NONE


cdef int finish_request(
    Head *h, const HeadLimits *limits, const char *line, const char *end
) noexcept nogil:
    """Judge a request head that llhttp took, line[:end - line], and complete `h`."""
    cdef HostForm host
    cdef uint64_t doubled
    cdef int fault
    if h.target_len > limits.max_target_bytes:
        return broke(
            h, FAULT_TARGET_TOO_LONG, "the target is longer than max_target",
            h.target + limits.max_target_bytes,
        )
    fault = check_request_line(h, line, end)
    if fault != FAULT_NONE:
        return fault
    doubled = sort_fields(h, False, limits.underscores)
    h.status = 0
    h.reason_len = 0
    h.reason = NULL
    fault = read_framing(h, doubled, False)
    if fault == FAULT_NONE:
        fault = read_host(h, doubled, &host)
    if fault == FAULT_NONE:
        fault = read_target(h, &host)
    if fault == FAULT_NONE:
        fault = read_options(h, doubled)
    if fault == FAULT_NONE:
        fault = check_expect(h)
    h.has_body = h.chunked or h.content_length > 0
    return fault


# --- responses -----------------------------------------------------------------


cdef int check_status_line(
    Head *h, const char *line, const char *eol, bint lenient
) noexcept nogil:
    """`HTTP/1.d 1*SP 3digits [SP reason] CRLF`; fills minor, status, line and reason.

    eol      the LF
    lenient  that LF may stand alone
    A higher minor version is read as 1 (RFC 9110 section 6.2).
    """
    cdef int status = 0
    cdef int i
    cdef const char *at = line + 9
    cdef const char *end = eol
    if eol > line and (eol - 1)[0] == c"\r":
        end -= 1
    elif not lenient:
        return broke(
            h, FAULT_UPSTREAM_BAD, "the status line ends in LF without CR", eol
        )
    if end - line < 12 or memcmp(line, b"HTTP/1.", 7) != 0 or line[8] != c" ":
        return broke(h, FAULT_UPSTREAM_BAD, NOT_A_STATUS_LINE, line)
    if not c"0" <= line[7] <= c"9":
        return broke(h, FAULT_UPSTREAM_BAD, NOT_A_STATUS_LINE, line + 7)
    while at < end and at[0] == c" ":
        at += 1
    for _ in range(3):
        if at == end or not c"0" <= at[0] <= c"9":
            return broke(h, FAULT_UPSTREAM_BAD, NOT_A_STATUS_LINE, at)
        status = status * 10 + (at[0] - c"0")
        at += 1
    if status < 100:
        return broke(h, FAULT_UPSTREAM_BAD, "the status is not 100 to 999", at - 3)
    if at != end and at[0] != c" ":
        return broke(h, FAULT_UPSTREAM_BAD, NOT_A_STATUS_LINE, at)
    h.minor = line[7] != c"0"
    h.status = <uint16_t>status
    h.line = line
    h.line_len = <uint32_t>(end - line)
    h.reason = at if at == end else at + 1
    h.reason_len = <uint32_t>(end - h.reason)
    for i in range(<int>h.reason_len):
        if h.reason[i] == 0x7F or (
            0 <= h.reason[i] < 0x20 and h.reason[i] != c"\t"
        ):
            return broke(
                h, FAULT_UPSTREAM_BAD, "a control character in the reason",
                h.reason + i,
            )
    return FAULT_NONE


cdef int finish_response(Head *h) noexcept nogil:
    """Judge the fields of a response head, whose status line was read."""
    cdef uint64_t doubled
    h.method = 0
    h.method_name = NULL
    h.method_len = 0
    h.idempotent = False
    h.has_body = False
    h.target = h.path = h.raw_path = h.query = h.host = h.authority = NULL
    h.target_len = h.path_len = h.raw_path_len = h.query_len = 0
    h.host_len = h.authority_len = h.odd = 0
    doubled = sort_fields(h, True, UNDERSCORES_PASS)
    if read_framing(h, doubled, True) != FAULT_NONE:
        return FAULT_UPSTREAM_BAD
    if read_options(h, doubled) != FAULT_NONE:
        return FAULT_UPSTREAM_BAD
    h.upgrade = h.upgrade and h.status == 101
    if h.status == 204 and (h.chunked or h.content_length > 0):
        # It may not say so (RFC 9110 section 8.6): the body it speaks of may come.
        h.keep_alive = False
    return FAULT_NONE
