"""The room reader, opened to pytest. Runs in: tests only."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastgate.dataplane.base cimport faults
from fastgate.dataplane.base.memory cimport bytes_len
from fastgate.dataplane.http cimport message


cdef class Side:
    """What one side of a connection reads, without its socket.

    response  it reads answers, each with a body of the kind that its head announces
    """

    def __cinit__(self, bint response=False):
        self.head = <Head *>malloc(sizeof(Head))
        if self.head is NULL:
            raise MemoryError
        self.response = response
        self.limits.max_head_bytes = 32768
        self.limits.max_fields = 128
        self.limits.max_target_bytes = 16384
        h1.reader_init(&self.reader, response, False)

    def __dealloc__(self):
        h1.reader_drop(&self.reader)
        free(self.head)
        free(self.scratch)

    @property
    def kept(self) -> bytes:
        """What waits for a later turn."""
        cdef h1.Reader *r = &self.reader
        return r.kept.data[r.kept.at:r.kept.end] if bytes_len(&r.kept) else b""

    @property
    def awaits_body(self) -> bool:
        return self.reader.body_kind != message.BODY_NONE

    def drop(self) -> None:
        h1.reader_drop(&self.reader)

    def keep(self) -> None:
        """End the turn: what was not used waits."""
        assert h1.reader_keep(&self.reader, &self.bytes)

    def read(self, bytes data) -> None:
        """Begin a turn with what was kept, and then `data` from the socket."""
        cdef size_t kept = bytes_len(&self.reader.kept)
        cdef char *fresh = <char *>malloc(kept + len(data) + 1)
        if fresh is NULL:
            raise MemoryError
        assert h1.reader_recall(&self.reader, fresh) == kept
        memcpy(fresh + kept, <const char *>data, len(data))
        free(self.scratch)
        self.scratch = fresh
        self.bytes.at = fresh
        self.bytes.n = kept + len(data)

    def next(self):
        """One piece: "nothing", "partial", ("head", line), ("body", bytes, is_end),
        or ("fault", reason).
        """
        cdef int found = h1.reader_next(
            &self.reader, &self.bytes, self.head, &self.limits
        )
        if found == h1.FOUND_NOTHING:
            return "nothing"
        if found == h1.FOUND_PARTIAL:
            return "partial"
        if found == h1.FOUND_FAULT:
            return "fault", faults.fault_info(self.bytes.fault).reason.decode()
        if found == h1.FOUND_BODY:
            data = b""
            if self.bytes.body_len:
                data = self.bytes.body[:self.bytes.body_len]
            return "body", data, bool(self.bytes.is_end)
        self._expect()
        return "head", self.head.line[:self.head.line_len]

    cdef void _expect(self):
        """As its owner does: interim answers, and requests without one, have no body.
        """
        if self.head.chunked:
            h1.reader_expect(&self.reader, message.BODY_CHUNKED, 0)
        elif self.head.content_length > 0 or (
            self.response and self.head.content_length == 0
        ):
            h1.reader_expect(
                &self.reader, message.BODY_COUNTED, self.head.content_length
            )
        elif self.response and self.head.status >= 200:
            h1.reader_expect(&self.reader, message.BODY_RAW, 0)
