"""HTTP/1.1 from heads and body bytes to the wire: what goes upstream, what goes back.

Runs in: worker. Nothing is copied raw: every name and value is checked again by
http/writer (RFC 9110 section 5.5), so that no rule and no identifier can split a
message. Writers of heads return the bytes written, or a negative Fault.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

from fastgate.dataplane.conn.conn cimport Conn, Worker
from fastgate.dataplane.http.message cimport Head
from fastgate.dataplane.http.outgoing cimport (
    Framing, RequestFacts, RequestShape, ResponseShape,
)
from fastgate.dataplane.plan.answer cimport Page

cdef enum:
    REPLY_BYTES = 1024          # room for write_reply: a head, and a line of text

cdef ssize_t write_request(
    char *out, size_t room, const Head *h,
    const RequestShape *shape, const RequestFacts *facts
) noexcept nogil
cdef ssize_t write_response(
    char *out, size_t room, const Head *h,
    const ResponseShape *shape, const Framing *framing, const char *date
) noexcept nogil
cdef ssize_t write_reply(
    char *out, size_t room, int status, const char *text, const Page *page,
    const char *server, uint32_t server_len, const char *date, const char *allow,
    bint close, bint head_only
) noexcept nogil
cdef void write_chunk(Worker *w, Conn *c, const char *data, size_t n) noexcept nogil
