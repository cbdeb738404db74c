"""One reader for both sides: the next piece of a message in the bytes at hand.

Runs in: worker.

                 .------------------- is_end ---------------------.
                 v                                                |
    HEAD --FOUND_PARTIAL--> HEAD --FOUND_HEAD--> reader_expect() -+-> BODY
                            (some of it kept)                      FOUND_BODY ...

Bytes are read into the worker's scratch and used there. What must wait for a later
turn is kept: a head that is not whole, or what nobody takes yet. A partial head is
put before the bytes that follow it, so that a head always lies in one piece; that
copies it anew at each read: up to max_header bytes a read, which is less than the
read itself costs. While a head is partial, what is kept is how the bytes at hand begin.
"""

from libc.string cimport memcpy

from fastgate.dataplane.base.faults cimport FAULT_INTERNAL, FAULT_NONE, FAULT_PARTIAL
from fastgate.dataplane.base.memory cimport bytes_append, bytes_drop, bytes_len
from fastgate.dataplane.h1.chunked cimport read_chunked
from fastgate.dataplane.h1.parser cimport parse_head, parser_init
from fastgate.dataplane.http.message cimport BODY_NONE, BODY_RAW


cdef void reader_init(Reader *r, bint response, bint lenient) noexcept nogil:
    """For a new connection; `r` was dropped, or is zeroed."""
    parser_init(&r.parser, response, lenient)
    r.body_kind = BODY_NONE
    r.body_left = 0
    r.seen = 0


cdef void reader_drop(Reader *r) noexcept nogil:
    """Forget what is kept: nothing more is read of this message."""
    bytes_drop(&r.kept)
    r.seen = 0
    r.body_kind = BODY_NONE


cdef size_t reader_recall(Reader *r, char *scratch) noexcept nogil:
    """Put what is kept into scratch: how many bytes.

    A partial head stays kept as well, so that what is read behind it can join it.
    """
    cdef size_t n = bytes_len(&r.kept)
    if n:
        memcpy(scratch, r.kept.data + r.kept.at, n)
        if r.seen == 0:
            bytes_drop(&r.kept)
    return n


cdef bint reader_keep(Reader *r, Reading *bytes) noexcept nogil:
    """Keep what was not used, for a later turn. False: no memory."""
    cdef size_t have = bytes_len(&r.kept)
    cdef size_t n = bytes.n
    bytes.n = 0
    return n <= have or bytes_append(&r.kept, bytes.at + have, n - have)


cdef int next_piece(
    Reader *r, Reading *bytes, Head *h, const HeadLimits *limits
) noexcept nogil:
    """reader_next, where there is a next piece."""
    cdef size_t used = 0
    cdef size_t body_at = 0
    cdef bint done = False
    if r.body_kind == BODY_NONE:
        return next_head(r, bytes, h, limits)
    bytes.is_end = False
    bytes.body = bytes.at
    bytes.body_len = 0
    if r.body_kind == BODY_COUNTED:
        used = bytes.n if <int64_t>bytes.n < r.body_left else <size_t>r.body_left
        r.body_left -= <int64_t>used
        bytes.body_len = used
        done = r.body_left == 0
    elif r.body_kind == BODY_RAW:
        used = bytes.body_len = bytes.n
    else:
        bytes.fault = read_chunked(
            &r.parser, bytes.at, bytes.n, &used, &body_at, &bytes.body_len, &done
        )
        if bytes.fault:
            return FOUND_FAULT
        bytes.body = bytes.at + body_at
    bytes.at += used
    bytes.n -= used
    if done:
        r.body_kind = BODY_NONE
        bytes.is_end = True
    return FOUND_BODY


cdef inline int next_head(
    Reader *r, Reading *bytes, Head *h, const HeadLimits *limits
) noexcept nogil:
    cdef size_t used = 0
    bytes.fault = parse_head(
        &r.parser, h, limits, bytes.at, bytes.n, r.seen, &used
    )
    if bytes.fault == FAULT_PARTIAL:
        r.seen = <uint32_t>bytes.n
        if reader_keep(r, bytes):
            return FOUND_PARTIAL
        bytes.fault = FAULT_INTERNAL
    if r.seen:
        bytes_drop(&r.kept)
        r.seen = 0
    if bytes.fault != FAULT_NONE:
        return FOUND_FAULT
    bytes.at += used
    bytes.n -= used
    return FOUND_HEAD
