"""An origin that answers from memory: direct responses and redirects.

Runs in: worker. What it says stands in the plan of the route; only the URL of a
redirect is made of the request, when its head is there, and kept as other origins
keep a request that they pack. The answer goes the way of any other: by the route's
rules for response headers, framed as its client needs it.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset, strlen

from fastgate.dataplane.base.faults cimport (
    FAULT_BAD_REQUEST, FAULT_INTERNAL, FAULT_NONE, FAULT_TARGET_TOO_LONG,
)
from fastgate.dataplane.base.memory cimport bytes_append, bytes_len, bytes_reserve
from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.exchange cimport (
    response_body, response_end, response_head,
)
from fastgate.dataplane.exchange.sides cimport Exchange
from fastgate.dataplane.http.message cimport BODY_NONE, H_OTHER, Field, Head
from fastgate.dataplane.http.outgoing cimport RequestFacts
from fastgate.dataplane.http.status cimport reason_phrase
from fastgate.dataplane.plan.answer cimport (
    PLACE_HOST, PLACE_PATH, PLACE_QUERY, PLACE_SCHEME, AnswerPlan, Piece,
)

cdef enum:
    MAX_LOCATION = 32768        # bytes of a redirect's URL

cdef const char *HEX = "0123456789ABCDEF"

# What may stand for itself in a path or a query (RFC 3986 sections 3.3 and 3.4), and
# "%": both come as escaped as they are.
cdef uint8_t MAY_STAND[256]


def fill_table() -> None:
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    for byte in plain + b"-._~!$&'()*+,;=:@/?%":
        MAY_STAND[<int>byte] = True


fill_table()


# --- where a redirect leads ----------------------------------------------------

cdef bint put_escaped(Exchange *x, const char *at, size_t n) noexcept nogil:
    """Append part of a target. False: no memory."""
    cdef size_t i
    cdef uint8_t c
    if not bytes_reserve(&x.head, 3 * n):
        return False
    for i in range(n):
        c = <uint8_t>at[i]
        if MAY_STAND[c]:
            x.head.data[x.head.end] = <char>c
            x.head.end += 1
        else:
            x.head.data[x.head.end] = b"%"
            x.head.data[x.head.end + 1] = HEX[c >> 4]
            x.head.data[x.head.end + 2] = HEX[c & 15]
            x.head.end += 3
    return True


cdef bint put_path(Exchange *x, const Head *h) noexcept nogil:
    """The path as it was routed, with one slash at its beginning.

    Behind two, a browser would look for a host.
    """
    cdef const char *at = h.path
    cdef size_t n = h.path_len
    if n == 0 or at[0] != b"/":
        # The asterisk of OPTIONS.
        return bytes_append(&x.head, b"/", 1)
    while n > 1 and (at[1] == b"/" or at[1] == b"\\"):
        at += 1
        n -= 1
    return bytes_append(&x.head, b"/", 1) and put_escaped(x, at + 1, n - 1)


cdef bint put_piece(
    Worker *w, Exchange *x, const Head *h, const Piece *piece
) noexcept nogil:
    cdef const Text *scheme = &w.listeners[x.client.listener].scheme
    if piece.place == PLACE_HOST:
        return bytes_append(&x.head, h.host, h.host_len)
    if piece.place == PLACE_PATH:
        return put_path(x, h)
    if piece.place == PLACE_QUERY:
        return put_escaped(x, h.query, h.query_len)
    if piece.place == PLACE_SCHEME:
        return bytes_append(&x.head, scheme.at, scheme.len)
    return bytes_append(&x.head, piece.text.at, piece.text.len)


cdef int pack(
    Worker *w, Exchange *x, const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Make the URL of a redirect, into x.head: empty for a direct response.

    A request of HTTP/1.0 that names no host cannot be led to a URL with one.
    """
    cdef const AnswerPlan *a = &w.routes[x.route].answer
    cdef const Piece *piece
    cdef int i
    for i in range(a.n_pieces):
        piece = &a.pieces[i]
        if piece.place == PLACE_HOST and h.host_len == 0:
            return FAULT_BAD_REQUEST
        if not put_piece(w, x, h, piece):
            return FAULT_INTERNAL
        if bytes_len(&x.head) > MAX_LOCATION:
            return FAULT_TARGET_TOO_LONG
    # Pieces may be empty, or one slash: what they come to begins with one as well.
    while bytes_len(&x.head) > 1 and x.head.data[x.head.at] == b"/" and (
        x.head.data[x.head.at + 1] == b"/" or x.head.data[x.head.at + 1] == b"\\"
    ):
        x.head.at += 1
    return FAULT_NONE


# --- the side -------------------------------------------------------------------

cdef int open_here(Worker *w, Exchange *x, bint *ready) noexcept nogil:
    x.here.ops = &OPS
    x.here.exchange = x
    x.here.reused = 0
    x.here.answered = 1
    x.origin = &x.here
    ready[0] = True
    return FAULT_NONE


cdef void add_field(
    Head *h, const char *name, const char *value, size_t n
) noexcept nogil:
    cdef Field *f = &h.fields[h.n_fields]
    f.name = name
    f.name_len = <uint16_t>strlen(name)
    f.value = value
    f.value_len = <uint32_t>n
    f.id = H_OTHER
    f.dropped = 0
    h.n_fields += 1


cdef void say(Worker *w, Exchange *x) noexcept nogil:
    """The whole answer; the exchange may be over behind each call."""
    cdef const AnswerPlan *a = &w.routes[x.route].answer
    cdef Head h
    memset(&h, 0, <char *>h.fields - <char *>&h)
    memset(h.field_of, 0xFF, sizeof(h.field_of))
    h.status = a.status
    h.minor = 1
    h.keep_alive = 1
    h.content_length = a.page.body.len
    h.reason = reason_phrase(a.status)
    h.reason_len = <uint32_t>strlen(h.reason)
    if a.page.content_type.len:
        add_field(
            &h, b"Content-Type", a.page.content_type.at, a.page.content_type.len
        )
    if bytes_len(&x.head):
        add_field(&h, b"Location", x.head.data + x.head.at, bytes_len(&x.head))
    response_head(w, x, &h)
    if x.here.exchange is x and x.response_kind != BODY_NONE and a.page.body.len:
        response_body(w, x, a.page.body.at, a.page.body.len)
    if x.here.exchange is x:
        response_end(w, x)


cdef void leave(Worker *w, Exchange *x) noexcept nogil:
    x.here.exchange = NULL
    x.origin = NULL


cdef void ignore(Worker *w, Exchange *x) noexcept nogil:
    """Nothing is awaited of who has said all."""


cdef void ignore_body(
    Worker *w, Exchange *x, const char *data, size_t n
) noexcept nogil:
    """Whatever is asked, the answer is the same."""


cdef size_t nothing_queued(Worker *w, Exchange *x) noexcept nogil:
    return 0


cdef OriginOps OPS
OPS.pack = pack
OPS.open = open_here
OPS.head = say
OPS.body = ignore_body
OPS.end = ignore
OPS.tunnel = ignore
OPS.cut = leave
OPS.reset = leave
OPS.resume = ignore
OPS.queued = nothing_queued
OPS.release = leave


cdef const OriginOps *answer_ops() noexcept:
    return &OPS
