"""One reader for both sides: the next piece of a message in the bytes at hand.

Runs in: worker. It asks no socket for anything: its owner does, and says what body
follows a head.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastgate.dataplane.base.memory cimport Bytes
from fastgate.dataplane.http.message cimport BODY_COUNTED, Head, HeadLimits, Parser

cdef enum Found:                # what reader_next says
    FOUND_NOTHING = 0           # all is used: more bytes are needed
    FOUND_PARTIAL               # the same; they belong to a head that has begun
    FOUND_HEAD                  # `h` is whole: the owner says what body follows
    FOUND_BODY                  # body[:body_len], perhaps of no length; see `is_end`
    FOUND_FAULT                 # `fault`, of a head or of a chunk

cdef struct Reader:             # lives in each connection
    Parser parser
    Bytes kept                  # read, not used yet
    int64_t body_left           # BODY_COUNTED: bytes still to be read
    uint32_t seen               # bytes of `kept` that are the beginning of a head
    uint8_t body_kind           # awaited, a BodyKind; BODY_NONE: a head is

cdef struct Reading:            # lives for one turn of the loop
    char *at                    # at[:n], in scratch: not used yet
    size_t n
    char *body
    size_t body_len
    int fault
    bint is_end                 # the body is whole with this piece

cdef void reader_init(Reader *r, bint response, bint lenient) noexcept nogil
cdef void reader_drop(Reader *r) noexcept nogil
cdef size_t reader_recall(Reader *r, char *scratch) noexcept nogil
cdef bint reader_keep(Reader *r, Reading *bytes) noexcept nogil
cdef int next_piece(
    Reader *r, Reading *bytes, Head *h, const HeadLimits *limits
) noexcept nogil

cdef inline int reader_next(
    Reader *r, Reading *bytes, Head *h, const HeadLimits *limits
) noexcept nogil:
    """The next piece of a message: a Found. Behind a fault there is none.

    A head borrows its bytes from scratch.
    """
    if bytes.n == 0 and (r.body_kind != BODY_COUNTED or r.body_left):
        return FOUND_NOTHING
    return next_piece(r, bytes, h, limits)

cdef inline void reader_expect(Reader *r, int kind, int64_t length) noexcept nogil:
    """A body of this BodyKind follows the head; of `length` bytes if counted."""
    r.body_kind = <uint8_t>kind
    r.body_left = length
