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
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memset

from fastgate.dataplane.faults cimport (
    FAULT_BAD_FRAMING, FAULT_BAD_REQUEST, FAULT_BAD_TARGET, FAULT_HEAD_TOO_LARGE,
    FAULT_METHOD_UNKNOWN, FAULT_NONE, FAULT_PARTIAL, FAULT_TARGET_TOO_LONG,
    FAULT_TOO_MANY_FIELDS, FAULT_UPSTREAM_BAD, FAULT_UPSTREAM_HEAD,
    FAULT_VERSION,
)
from fastgate.dataplane.fields cimport token_end
from fastgate.dataplane.message cimport (
    LLHTTP_BYTES, MAX_FIELDS, Field, Head, HeadLimits, Parser, broke,
)
from fastgate.dataplane.native cimport (
    HPE_INVALID_CONSTANT, HPE_INVALID_CONTENT_LENGTH, HPE_INVALID_METHOD,
    HPE_INVALID_TRANSFER_ENCODING, HPE_INVALID_URL, HPE_INVALID_VERSION, HPE_OK,
    HPE_PAUSED, HPE_PAUSED_H2_UPGRADE, HPE_UNEXPECTED_CONTENT_LENGTH, HPE_USER,
    LLHTTP_PARSER_BYTES, LLHTTP_REQUEST, LLHTTP_RESPONSE, LlhttpFields, LlhttpSettings,
    llhttp_execute, llhttp_get_error_pos, llhttp_get_error_reason, llhttp_get_method,
    llhttp_init, llhttp_settings_init,
)
from fastgate.dataplane.strict cimport (
    ends_in_version, finish_request, finish_response, is_http_method,
)

assert <int>LLHTTP_BYTES == <int>LLHTTP_PARSER_BYTES

cdef enum:
    MAX_METHOD_BYTES = 32       # of a method we do not know, to call it one
    METHOD_PRI = 34             # llhttp's number

cdef const char *NOT_A_METHOD = "the method is not one of HTTP or WebDAV"
cdef const char *EMPTY_LINE = "empty lines before the start line"
cdef const char *TARGET_TOO_LONG = "the target is longer than max_target"
cdef const char *HEAD_TOO_LARGE = "the head is larger than is allowed"

cdef LlhttpSettings RECORD
cdef LlhttpSettings SKIP


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


cdef const char *rule_of(const Parser *p, int error) noexcept nogil:
    """What an error of llhttp's says of a head, in its own static words."""
    cdef const char *reason = llhttp_get_error_reason(p.llhttp)
    if error == HPE_INVALID_METHOD:
        return NOT_A_METHOD
    if error == HPE_USER:
        return "more fields than are allowed"
    if reason is NULL:
        return "the head is malformed"
    return reason


cdef int unknown_method(const char *line, size_t n) noexcept nogil:
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
        if not is_http_method(method):
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
              of a response it is FAULT_UPSTREAM_HEAD or FAULT_UPSTREAM_BAD

    The same bytes give the same answer however they were cut, at a cost linear in n.
    """
    cdef size_t fed = min(n, <size_t>limits.max_head_bytes)
    cdef const char *line = buf
    cdef const char *end
    cdef int blank
    cdef int error
    cdef int fault
    consumed[0] = 0
    h.line_len = 0
    h.start = buf
    h.sent_len = <uint32_t>fed
    h.rule = NULL
    h.rule_at = 0
    if n == 0:
        return FAULT_PARTIAL
    blank = leading_blank(buf, fed)
    if p.response and blank != 0:
        return broke(h, FAULT_UPSTREAM_BAD, EMPTY_LINE, buf)
    if blank < 0:
        return broke(h, FAULT_BAD_REQUEST, EMPTY_LINE, buf)
    line += blank

    if already == 0:
        p.body_bytes = 0
        p.framing_bytes = 0
        p.trailer_bytes = 0
        p.target_bytes = 0
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
            h.method = <uint8_t>llhttp_get_method(p.llhttp)
            fault = finish_request(h, limits, line, end)
        if fault == FAULT_NONE:
            consumed[0] = end - buf
        return fault
    if error != HPE_OK:
        fault = FAULT_UPSTREAM_HEAD if error == HPE_USER else FAULT_UPSTREAM_BAD
        if not p.response:
            fault = refused(p, limits, error, line, buf, fed)
        if fault != FAULT_PARTIAL:
            return broke(
                h, fault,
                TARGET_TOO_LONG if fault == FAULT_TARGET_TOO_LONG
                else rule_of(p, error),
                error_at(p, error, line, buf + fed),
            )
    elif p.target_bytes > limits.max_target_bytes:
        return broke(h, FAULT_TARGET_TOO_LONG, TARGET_TOO_LONG, line)
    if n < limits.max_head_bytes:
        return FAULT_PARTIAL
    if p.response:
        return broke(h, FAULT_UPSTREAM_HEAD, HEAD_TOO_LARGE, buf + fed)
    if memchr(line, c"\n", buf + fed - line) is NULL:
        return broke(h, FAULT_TARGET_TOO_LONG, HEAD_TOO_LARGE, buf + fed)
    return broke(h, FAULT_HEAD_TOO_LARGE, HEAD_TOO_LARGE, buf + fed)


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


fill_settings()
