"""HTTP/1.x from bytes to a Head: llhttp, our own strictness, canonical forms.

Runs in: worker.

How a head is read. A call with `already == 0` gives llhttp the whole buffer once
and records spans. When that leaves the head incomplete, later calls give llhttp
only the new bytes and record nothing; when it then says that the head is complete,
one more pass over the whole head records. So the cost is linear however the bytes
were cut, and every Head comes from one pass over one contiguous buffer: the cut
cannot change the result. Faults keep that too: each is decided at one byte, by
what stands before it (docs/decisions/0003-one-parser.md).

Of a response, llhttp reads the fields and strict.pyx the status line. llhttp runs
strict (but for upstreams that are configured lenient), stops at the end of the head
by itself, and never sees a body other than a chunked one. What it accepts and we do
not is refused in finish_*.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset

from fastgate.dataplane.base.faults cimport (
    FAULT_BAD_FRAMING, FAULT_BAD_REQUEST, FAULT_BAD_TARGET, FAULT_HEAD_TOO_LARGE,
    FAULT_METHOD_UNKNOWN, FAULT_NONE, FAULT_PARTIAL, FAULT_TARGET_TOO_LONG,
    FAULT_TOO_MANY_FIELDS, FAULT_UPSTREAM_BAD, FAULT_UPSTREAM_HEAD,
    FAULT_VERSION,
)
from fastgate.dataplane.h1.chunked cimport begin_chunked
from fastgate.dataplane.h1.strict cimport (
    check_status_line, finish_request, finish_response, unknown_method,
)
from fastgate.dataplane.http.fields cimport token_end
from fastgate.dataplane.http.message cimport (
    LLHTTP_BYTES, MAX_FIELDS, Field, Head, HeadLimits, Parser, broke,
)
from fastgate.dataplane.http.methods cimport (
    MAX_METHOD_BYTES, METHOD_PRI, http_method,
)
from fastgate.dataplane.native.llhttp cimport (
    F_CONTENT_LENGTH, HPE_INVALID_CONSTANT, HPE_INVALID_CONTENT_LENGTH,
    HPE_INVALID_HEADER_TOKEN, HPE_INVALID_METHOD, HPE_INVALID_TRANSFER_ENCODING,
    HPE_INVALID_URL, HPE_INVALID_VERSION, HPE_OK,
    HPE_PAUSED, HPE_PAUSED_H2_UPGRADE, HPE_UNEXPECTED_CONTENT_LENGTH, HPE_USER,
    LLHTTP_PARSER_BYTES, LLHTTP_REQUEST, LLHTTP_RESPONSE, LlhttpFields, LlhttpSettings,
    llhttp_execute, llhttp_get_error_pos, llhttp_get_error_reason, llhttp_get_method,
    llhttp_init, llhttp_set_lenient_headers,
    llhttp_set_lenient_optional_cr_before_lf, llhttp_set_lenient_version,
    llhttp_settings_init,
)

assert <int>LLHTTP_BYTES == <int>LLHTTP_PARSER_BYTES

cdef enum:
    MAX_EMPTY_LINES = 4         # before a start line; two are known to be sent

cdef const char *NOT_A_METHOD = "the method is not one of HTTP or WebDAV"
cdef const char *TARGET_TOO_LONG = "the target is longer than max_target"

cdef LlhttpSettings RECORD
cdef LlhttpSettings RECORD_ANSWER
cdef LlhttpSettings SKIP
cdef LlhttpSettings SKIP_ANSWER

# A parser of a request at its start, and those of a response at its first field,
# strict and lenient.
cdef char BEFORE_REQUEST[LLHTTP_BYTES]
cdef char BEHIND_STATUS_LINE[2][LLHTTP_BYTES]


# --- llhttp's callbacks --------------------------------------------------------
# RECORD runs over one contiguous buffer, where each element is exactly one span; a
# piece can only end at the buffer's end, and then the record is thrown away.


cdef int record_url(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Head *h = <Head *>(<LlhttpFields *>parser).data
    h.target = at
    h.target_len = <uint32_t>n
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


cdef inline void forget_length(void *parser) noexcept nogil:
    """Have llhttp read the next Content-Length of a response as it did the first.

    It would refuse a second one; read_framing compares them. llhttp itself needs
    none: no body but a chunked one comes to it.
    """
    cdef LlhttpFields *fields = <LlhttpFields *>parser
    # A number that is cut goes on counting: only a whole one has the flag.
    if fields.flags & F_CONTENT_LENGTH:
        fields.flags &= ~<uint16_t>F_CONTENT_LENGTH
        fields.content_length = 0


cdef bint has_control(const Parser *p, const char *at, size_t n) noexcept nogil:
    """Whether a lenient llhttp let a control character pass, which nobody may send."""
    cdef size_t i
    if p.lenient:
        for i in range(n):
            if at[i] == 0x7F or (0 <= at[i] < 0x20 and at[i] != c"\t"):
                return True
    return False


cdef inline bint has_blank(const Parser *p, const char *at, size_t n) noexcept nogil:
    """Whether a lenient llhttp let blanks pass between a name and its colon.

    `Content-Length : 5` is a length to some and to others an unknown field.
    """
    return p.lenient and n > 0 and at[n - 1] == c" "


cdef int record_answer_name(void *parser, const char *at, size_t n) noexcept nogil:
    (<Parser *>parser).in_value = False
    if has_blank(<Parser *>parser, at, n):
        return HPE_INVALID_HEADER_TOKEN
    return record_name(parser, at, n)


cdef int record_answer_value(void *parser, const char *at, size_t n) noexcept nogil:
    """As record_value; a second value of one name is what was folded behind it.

    A fold becomes blanks (RFC 9112 section 5.2), so that the value is one span.
    """
    cdef Head *h = <Head *>(<LlhttpFields *>parser).data
    cdef Parser *p = <Parser *>parser
    cdef Field *f
    cdef size_t i
    forget_length(parser)
    if has_control(p, at, n):
        return HPE_INVALID_HEADER_TOKEN
    if not p.in_value:
        p.in_value = True
        return record_value(parser, at, n)
    f = &h.fields[h.n_fields - 1]
    if f.value_len == 0:
        f.value = at
    for i in range(f.value_len, at - f.value):
        (<char *>f.value)[i] = c" "
    f.value_len = <uint32_t>(at + n - f.value)
    return HPE_OK


cdef int stop_here(void *parser) noexcept nogil:
    return HPE_PAUSED


cdef int skip_url(void *parser, const char *at, size_t n) noexcept nogil:
    (<Parser *>parser).target_bytes += <uint32_t>n
    return HPE_OK


cdef int skip_name(void *parser, const char *at, size_t n) noexcept nogil:
    (<Parser *>parser).in_value = False
    return HPE_OK


cdef int skip_answer_name(void *parser, const char *at, size_t n) noexcept nogil:
    if has_blank(<Parser *>parser, at, n):
        return HPE_INVALID_HEADER_TOKEN
    return skip_name(parser, at, n)


cdef int skip_value(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Parser *p = <Parser *>parser
    if not p.in_value:
        if p.n_fields >= p.max_fields:
            return HPE_USER
        p.n_fields += 1
        p.in_value = True
    return HPE_OK


cdef int skip_answer_value(void *parser, const char *at, size_t n) noexcept nogil:
    forget_length(parser)
    if has_control(<Parser *>parser, at, n):
        return HPE_INVALID_HEADER_TOKEN
    return skip_value(parser, at, n)


# --- from llhttp's verdict to a Fault ------------------------------------------


cdef const char *rule_of(const Parser *p, int error) noexcept nogil:
    """What an error of llhttp's says of a head, in its own static words."""
    cdef const char *reason = llhttp_get_error_reason(p.llhttp)
    if error == HPE_INVALID_METHOD:
        return NOT_A_METHOD
    if error == HPE_INVALID_HEADER_TOKEN and p.lenient:
        return "a byte in a field that may not stand there"
    if error == HPE_USER:
        if p.response:
            return "there are more fields than max_response_headers"
        return "there are more fields than max_headers"
    if reason is NULL:
        return "the head is malformed"
    return reason


cdef int judge_method(const char *line, size_t n) noexcept nogil:
    """What a method that llhttp refused is: one of another protocol, or garbage.

    Told by the whole token, so it may have to wait for the token's end.
    """
    cdef size_t length = token_end(line, line + n) - line
    if length > MAX_METHOD_BYTES:
        return FAULT_METHOD_UNKNOWN
    if length == n:
        return FAULT_PARTIAL
    if length > 0 and line[length] == c" ":
        return FAULT_METHOD_UNKNOWN
    return FAULT_BAD_REQUEST


cdef size_t target_extent(const char *line, const char *end) noexcept nogil:
    """Bytes of the target between its start and `end`, by the line's blanks."""
    cdef const char *at = line
    cdef const char *start
    at = token_end(at, end)
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
        return judge_method(line, buf + n - line)
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
        return FAULT_VERSION if method == METHOD_PRI else FAULT_BAD_REQUEST
    if error == HPE_INVALID_CONSTANT:
        # "DESCRIBE / HTTP/1.1": a method that llhttp knows from RTSP.
        if http_method(method) is NULL:
            return FAULT_METHOD_UNKNOWN
        return FAULT_BAD_REQUEST
    if (
        error == HPE_INVALID_CONTENT_LENGTH
        or error == HPE_UNEXPECTED_CONTENT_LENGTH
        or error == HPE_INVALID_TRANSFER_ENCODING
    ):
        return FAULT_BAD_FRAMING
    return FAULT_BAD_REQUEST


cdef const char *error_at(
    Parser *p, int error, const char *line, const char *end
) noexcept nogil:
    """The byte that llhttp stopped at; the line, where its word would be stale."""
    cdef const char *at = llhttp_get_error_pos(p.llhttp)
    if error == HPE_INVALID_METHOD or at < line or at > end:
        return line
    return at


# --- the doors -----------------------------------------------------------------


cdef void parser_init(Parser *p, bint response, bint lenient) noexcept nogil:
    """Make `p` ready for one side of a connection; once, it needs no release.

    lenient  of responses only: in a head also take lines that end in a bare LF,
             and folded fields
    """
    memset(p, 0, sizeof(Parser))
    p.response = response
    p.lenient = lenient


cdef ssize_t leading_blank(const char *buf, size_t n) noexcept nogil:
    """Bytes of the empty lines before a start line (RFC 9112 section 2.2), or -1.

    More than MAX_EMPTY_LINES, or half of one, are refused; llhttp would take any.
    """
    cdef size_t at = 0
    while at < n and buf[at] == c"\r":
        if at == 2 * MAX_EMPTY_LINES or (at + 1 < n and buf[at + 1] != c"\n"):
            return -1
        at += 2
    if at < n and buf[at] == c"\n":
        return -1
    return <ssize_t>min(at, n)


cdef bint is_blank_head(const char *buf, size_t n) noexcept nogil:
    """Whether nothing but whole empty lines came, which begin no request."""
    return n > 0 and buf[n - 1] == c"\n" and leading_blank(buf, n) == <ssize_t>n


cdef void begin_message(Parser *p) noexcept nogil:
    p.body_bytes = 0
    p.framing_bytes = 0
    p.trailer_bytes = 0
    p.target_bytes = 0
    p.fields_at = 0
    p.in_trailer = False


cdef int record(
    Parser *p, Head *h, const HeadLimits *limits, const char *at, size_t n
) noexcept nogil:
    """One recording pass of llhttp over a whole head; llhttp's error.

    at  the start of a request, or the first field of a response
    """
    if p.response:
        memcpy(p.llhttp, BEHIND_STATUS_LINE[p.lenient], LLHTTP_BYTES)
    else:
        memcpy(p.llhttp, BEFORE_REQUEST, LLHTTP_BYTES)
    (<LlhttpFields *>p.llhttp).data = h
    h.n_fields = 0
    h.target_len = 0
    p.in_value = False
    p.max_fields = <uint16_t>min(limits.max_fields, <uint32_t>(MAX_FIELDS - 1))
    return llhttp_execute(p.llhttp, at, n)


cdef void keep_counts(Parser *p, const Head *h, const char *end) noexcept nogil:
    """After a recording pass that ended early: what the skipping ones go on from."""
    cdef const Field *last
    (<LlhttpFields *>p.llhttp).settings = &SKIP_ANSWER if p.response else &SKIP
    p.target_bytes = h.target_len
    p.n_fields = h.n_fields
    if p.response:
        return  # its callbacks know it: a fold may follow behind a line's end
    p.in_value = False
    if h.n_fields > 0:
        last = &h.fields[h.n_fields - 1]
        p.in_value = last.value + last.value_len == end


cdef int skip(Parser *p, const char *at, size_t n) noexcept nogil:
    """The next bytes of a head that was not complete; llhttp's error."""
    (<LlhttpFields *>p.llhttp).data = NULL
    return llhttp_execute(p.llhttp, at, n)


cdef int parse_head(
    Parser *p, Head *h, const HeadLimits *limits,
    const char *buf, size_t n, size_t already, size_t *consumed
) noexcept nogil:
    """Read one message head from the start of `buf`.

    buf, n    all bytes of the message that have arrived; spans in `h` point into it.
              Of a lenient response, folds in it become blanks
    already   how many of them earlier calls have seen, 0 for a new message
    consumed  set to the head's length when it is complete, otherwise to 0
    returns   FAULT_NONE: `h` is complete. FAULT_PARTIAL: call again with more, no
              byte changed and `already` = this n. Otherwise the fault, for good,
              with h.rule and h.rule_at; of a response it is FAULT_UPSTREAM_HEAD
              or FAULT_UPSTREAM_BAD

    The same bytes give the same answer however they were cut, at a cost linear in n.
    """
    cdef size_t fed = min(n, <size_t>limits.max_head_bytes)
    cdef ssize_t blank
    cdef int fault
    consumed[0] = 0
    h.line_len = 0
    h.start = buf
    h.sent_len = <uint32_t>fed
    h.rule = NULL
    h.rule_at = 0
    if n == 0:
        return FAULT_PARTIAL
    if already == 0:
        begin_message(p)
    blank = leading_blank(buf, fed)
    if blank < 0:
        return broke(
            h, FAULT_UPSTREAM_BAD if p.response else FAULT_BAD_REQUEST,
            "more than 4 empty lines before the start line, or half of one", buf,
        )
    if p.response:
        fault = parse_response(p, h, limits, buf, fed, already, blank, consumed)
    else:
        fault = parse_request(p, h, limits, buf, fed, already, blank, consumed)
    if fault != FAULT_PARTIAL or n < limits.max_head_bytes:
        return fault
    if p.response:
        return broke(
            h, FAULT_UPSTREAM_HEAD, "the head is larger than max_response_header",
            buf + fed,
        )
    if memchr(buf + blank, c"\n", fed - blank) is NULL:
        fault = FAULT_TARGET_TOO_LONG
    else:
        fault = FAULT_HEAD_TOO_LARGE
    return broke(h, fault, "the head is larger than max_header", buf + fed)


cdef int parse_request(
    Parser *p, Head *h, const HeadLimits *limits,
    const char *buf, size_t n, size_t already, size_t blank, size_t *consumed
) noexcept nogil:
    """parse_head for a request, of which buf[:blank] are empty lines."""
    cdef const char *line = buf + blank
    cdef const char *end
    cdef int error = HPE_OK
    cdef int fault
    if already == 0:
        error = record(p, h, limits, buf, n)
        if error == HPE_OK:
            keep_counts(p, h, buf + n)
    elif n > already:
        error = skip(p, buf + already, n - already)
        if error == HPE_PAUSED:
            error = record(p, h, limits, buf, n)

    if error == HPE_PAUSED:
        end = llhttp_get_error_pos(p.llhttp)
        h.method = <uint8_t>llhttp_get_method(p.llhttp)
        fault = finish_request(h, limits, line, end)
        if fault == FAULT_NONE:
            consumed[0] = end - buf
            if h.chunked:
                begin_chunked(p)
        return fault
    if error != HPE_OK:
        fault = refused(p, limits, error, line, buf, n)
        if fault == FAULT_PARTIAL:
            return fault
        if fault == FAULT_METHOD_UNKNOWN:
            return unknown_method(h, line, buf + n)
        if fault == FAULT_TARGET_TOO_LONG:
            return broke(h, fault, TARGET_TOO_LONG, line)
        return broke(h, fault, rule_of(p, error), error_at(p, error, line, buf + n))
    if p.target_bytes > limits.max_target_bytes:
        return broke(h, FAULT_TARGET_TOO_LONG, TARGET_TOO_LONG, line)
    return FAULT_PARTIAL


cdef int parse_response(
    Parser *p, Head *h, const HeadLimits *limits,
    const char *buf, size_t n, size_t already, size_t blank, size_t *consumed
) noexcept nogil:
    """parse_head for a response. llhttp reads its fields; the line before is ours.

    llhttp has no switch for a second blank, an unknown minor version or an empty
    line in a status line, and we judged that line byte by byte in any case.
    """
    cdef const char *line = buf + blank
    cdef const char *eol
    cdef size_t known = blank if blank > already else already
    cdef int error = HPE_OK
    cdef int fault
    if memcmp(line, b"HTTP/1.", min(n - blank, <size_t>7)) != 0:
        return broke(h, FAULT_UPSTREAM_BAD, "the answer is not HTTP/1.x", line)
    if p.fields_at == 0:
        eol = <const char *>memchr(buf + known, c"\n", n - known)
        if eol is NULL:
            return FAULT_PARTIAL
        fault = check_status_line(h, line, eol, p.lenient)
        if fault != FAULT_NONE:
            return fault
        p.fields_at = <uint32_t>(eol + 1 - buf)
        already = 0
    if p.lenient and p.fields_at < n and buf[p.fields_at] == c" ":
        # llhttp would make a field of it, others a part of the status line, and
        # RFC 9112 section 2.2 nothing.
        return broke(
            h, FAULT_UPSTREAM_BAD, "a blank before the first field",
            buf + p.fields_at,
        )
    if already == 0:
        error = record(p, h, limits, buf + p.fields_at, n - p.fields_at)
        if error == HPE_OK:
            keep_counts(p, h, buf + n)
    elif n > already:
        error = skip(p, buf + already, n - already)
        if error == HPE_PAUSED:
            check_status_line(h, line, buf + p.fields_at - 1, p.lenient)
            error = record(p, h, limits, buf + p.fields_at, n - p.fields_at)

    if error == HPE_OK:
        return FAULT_PARTIAL
    if error == HPE_PAUSED:
        fault = finish_response(h)
        if fault == FAULT_NONE:
            consumed[0] = llhttp_get_error_pos(p.llhttp) - buf
            if h.chunked:
                begin_chunked(p)
        return fault
    return broke(
        h, FAULT_UPSTREAM_HEAD if error == HPE_USER else FAULT_UPSTREAM_BAD,
        rule_of(p, error), error_at(p, error, line, buf + n),
    )


def fill_settings() -> None:
    cdef int lenient
    llhttp_settings_init(&RECORD)
    RECORD.on_url = record_url
    RECORD.on_header_field = record_name
    RECORD.on_header_value = record_value
    RECORD.on_headers_complete = stop_here
    llhttp_settings_init(&RECORD_ANSWER)
    RECORD_ANSWER.on_header_field = record_answer_name
    RECORD_ANSWER.on_header_value = record_answer_value
    RECORD_ANSWER.on_headers_complete = stop_here
    llhttp_settings_init(&SKIP)
    SKIP.on_url = skip_url
    SKIP.on_header_field = skip_name
    SKIP.on_header_value = skip_value
    SKIP.on_headers_complete = stop_here
    llhttp_settings_init(&SKIP_ANSWER)
    SKIP_ANSWER.on_header_field = skip_answer_name
    SKIP_ANSWER.on_header_value = skip_answer_value
    SKIP_ANSWER.on_headers_complete = stop_here
    llhttp_init(BEFORE_REQUEST, LLHTTP_REQUEST, &RECORD)
    # Any digits: check_request_line judges them.
    llhttp_set_lenient_version(BEFORE_REQUEST, 1)
    for lenient in range(2):
        llhttp_init(BEHIND_STATUS_LINE[lenient], LLHTTP_RESPONSE, &RECORD_ANSWER)
        llhttp_set_lenient_optional_cr_before_lf(BEHIND_STATUS_LINE[lenient], lenient)
        # Folds. It lets control characters in values pass too: has_control does not.
        llhttp_set_lenient_headers(BEHIND_STATUS_LINE[lenient], lenient)
        if llhttp_execute(
            BEHIND_STATUS_LINE[lenient], b"HTTP/1.1 200 OK\r\n", 17
        ) != HPE_OK:
            raise ImportError("llhttp does not read a plain status line")


fill_settings()
