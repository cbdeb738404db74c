"""Chunked bodies: from chunks to one contiguous region, in place.

Runs in: worker. Every fault is decided at one byte by what stands before it, so
that the same bytes give the same answer however they were cut.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memmove

from fastgate.dataplane.base.faults cimport (
    FAULT_BAD_CHUNK, FAULT_BAD_TRAILER, FAULT_NONE,
)
from fastgate.dataplane.http.message cimport Parser
from fastgate.dataplane.native.llhttp cimport (
    F_CHUNKED, HPE_OK, HPE_PAUSED, HPE_USER, LlhttpFields, LlhttpSettings,
    llhttp_execute, llhttp_get_errno, llhttp_get_error_pos, llhttp_get_error_reason,
    llhttp_resume, llhttp_set_lenient_headers,
    llhttp_set_lenient_optional_cr_before_lf,
    llhttp_set_lenient_spaces_after_chunk_size, llhttp_settings_init,
)

cdef enum:
    # h2o's and Node's bound on chunk lines that carry no data (CVE-2024-22019):
    # framing may cost as much as the body, and at least this much is always free.
    FREE_FRAMING_BYTES = 102400
    MAX_TRAILER_BYTES = 8192

cdef LlhttpSettings BODY

cdef struct Run:                # of one call of read_chunked
    const char *buf
    char *body                  # where the compacted body starts; NULL: none yet
    size_t body_len


cdef bint is_overhead(const Parser *p, size_t body, size_t framing) noexcept nogil:
    """Whether chunk lines cost more than what they frame (CVE-2024-22019)."""
    cdef int64_t total = p.framing_bytes + <int64_t>framing
    return total > FREE_FRAMING_BYTES and total > p.body_bytes + <int64_t>body


cdef int body_piece(void *parser, const char *at, size_t n) noexcept nogil:
    cdef Run *run = <Run *>(<LlhttpFields *>parser).data
    cdef Parser *p = <Parser *>parser
    if is_overhead(p, run.body_len, at - run.buf - run.body_len):
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


cdef const char *chunk_rule(const Parser *p) noexcept nogil:
    """What the chunked body broke that read_chunked last refused: static text."""
    cdef const char *reason = llhttp_get_error_reason(p.llhttp)
    cdef int error = llhttp_get_errno(p.llhttp)
    if error == HPE_USER or error == HPE_OK or error == HPE_PAUSED or reason is NULL:
        return "chunk lines larger than the data, or trailers of more than 8 KiB"
    return reason


cdef int message_end(void *parser) noexcept nogil:
    """Stop after the trailer section: what follows is not of this message."""
    return HPE_PAUSED


cdef void begin_chunked(Parser *p) noexcept nogil:
    """What `p` reads next are chunks: our reading of the head decides, not llhttp's.

    llhttp overlooks `chunked` before a tab or a fold. A lenient head ends here: in
    chunk lines llhttp would take two LFs for one line end. Blanks behind a size are
    read past, as `3 ;a=b` may have them (RFC 9112 section 7.1.1), and as many
    servers pad `3  `: nobody reads another number there.
    """
    (<LlhttpFields *>p.llhttp).flags |= F_CHUNKED
    llhttp_set_lenient_spaces_after_chunk_size(p.llhttp, 1)
    if p.lenient:
        llhttp_set_lenient_headers(p.llhttp, 0)
        llhttp_set_lenient_optional_cr_before_lf(p.llhttp, 0)


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

    Chunk extensions and trailers, whatever their names (RFC 9112 section 7.1.2), are
    dropped; llhttp refuses Content-Length and Transfer-Encoding there. Framing
    may not cost more bytes than the body, beyond FREE_FRAMING_BYTES; anything wrong
    after the last chunk's line is FAULT_BAD_TRAILER.
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


def fill_settings() -> None:
    llhttp_settings_init(&BODY)
    BODY.on_body = body_piece
    BODY.on_chunk_header = chunk_line
    BODY.on_message_complete = message_end


fill_settings()
