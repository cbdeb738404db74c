"""What goes out, in no protocol's words: which fields pass, which are made, and how.

Runs in: worker. A side that writes heads asks here which fields of the other side
pass and which the gateway adds, and has their values made here; the lines or frames
they travel in are its own.

What happens to a field is one bit: `skip` has a bit for every HeaderId that is left
out, `look` one for each that some rule names; a field whose bit is clear in both is
copied and costs no more than that. These sets are made with the plan, once for each
route and each way in which its peers are trusted. What every head needs is inline.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastgate.dataplane.base.faults cimport FAULT_LOOP, FAULT_NONE
from fastgate.dataplane.http.message cimport (
    Field, H_DATE, H_VIA, H_X_FORWARDED_FOR, H_X_FORWARDED_HOST, H_X_FORWARDED_PORT,
    H_X_FORWARDED_PROTO, Head, HeaderId, id_bit,
)
from fastgate.dataplane.http.rules cimport Rules
from fastgate.dataplane.http.via cimport passed_through
from fastgate.dataplane.http.writer cimport Out, put_text, put_value

cdef struct Sets:           # of HeaderIds: what becomes of the fields of a head
    uint64_t skip           # do not pass as they came
    uint64_t made           # the gateway writes them, behind those that pass
    uint64_t look           # some rule names them: rule_of() decides
    uint64_t protected      # no rule adds them

cdef struct RequestShape:   # of a route; borrowed from the plan
    const char *host        # what Host becomes; NULL: the client's is kept
    uint32_t host_len
    uint8_t x_forwarded     # X-Forwarded-For, -Proto, -Host, -Port
    uint8_t forwarded       # Forwarded, RFC 7239
    uint8_t request_id      # X-Request-ID
    const char *via         # what Via calls this gateway; NULL: no Via
    uint32_t via_len
    Rules rules
    Sets sets[2]            # [RequestFacts.trusted], made of the above

cdef struct RequestFacts:   # of one exchange
    const char *peer        # the peer's address as text ("unix:" for a Unix socket)
    uint32_t peer_len
    uint8_t peer_is_v6
    uint8_t trusted         # 1: the peer is a trusted proxy, its chain is continued
    const char *port        # of the listener, in decimal
    uint32_t port_len       # 0: it is a Unix socket, and has none
    const char *scheme      # "http"
    uint32_t scheme_len
    const char *request_id  # 32 hex digits to use when the client sent none
    uint8_t tunnel          # pass the Upgrade on

cdef struct ResponseShape:  # of a route
    const char *server      # the Server field; NULL: the upstream's is kept
    uint32_t server_len     # 0 with server set: no Server field at all
    const char *via         # what Via calls this gateway; NULL: no Via
    uint32_t via_len
    Rules rules
    Sets sets               # made of the above

cdef struct Framing:        # how the body of a response is sent to the client
    int64_t content_length  # >= 0: counted
    uint8_t chunked
    uint8_t bodiless        # HEAD, 1xx, 204, 304: fields of length are kept as they are
    uint8_t close           # say Connection: close
    uint8_t client_minor    # 0: an HTTP/1.0 client, told keep-alive when not close
    uint8_t tunnel          # 101: Connection: upgrade and Upgrade go through

cdef struct Outgoing:       # one head on its way
    const Sets *sets
    const Rules *rules
    uint64_t made           # of `sets.made`, what this head is given
    uint64_t placed         # a bit each of a Rule: a SET that stands in the head

# How the sets are made of the rest of a shape, which has at most MAX_RULES rules.
cdef void settle_request(RequestShape *shape) noexcept nogil
cdef void settle_response(ResponseShape *shape) noexcept nogil

# A put_* that names a field appends its value, and nothing around it.
cdef bint put_list(Out *o, const Head *h, HeaderId id) noexcept nogil
cdef void put_forwarded(
    Out *o, const Head *h, const RequestFacts *facts
) noexcept nogil
cdef void put_request_id(
    Out *o, const Head *h, const RequestFacts *facts
) noexcept nogil
cdef void put_via(Out *o, const Head *h, const char *name, size_t n) noexcept nogil


cdef inline const Field *present(const Head *h, HeaderId id) noexcept nogil:
    """The first field of `id` that is passed on; NULL: there is none."""
    cdef int i = h.field_of[<int>id]
    while 0 <= i < h.n_fields:
        if h.fields[i].id == id and not h.fields[i].dropped:
            return &h.fields[i]
        i += 1
    return NULL


cdef inline bint is_present(const Head *h, HeaderId id) noexcept nogil:
    return present(h, id) is not NULL


cdef inline bint has_address(const RequestFacts *facts) noexcept nogil:
    """Has the peer an address? One on a Unix socket has none to tell."""
    return facts.peer_len > 0 and (
        facts.peer_is_v6 or c'0' <= facts.peer[0] <= c'9'
    )


cdef inline uint64_t x_forwarded_unsaid(
    const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Those of X-Forwarded-* that are not made: what is unknown, or what a trusted
    proxy has said.
    """
    cdef bint trusted = facts.trusted
    cdef uint64_t unsaid = 0
    if not has_address(facts) and not (trusted and is_present(h, H_X_FORWARDED_FOR)):
        unsaid |= id_bit(H_X_FORWARDED_FOR)
    if trusted and is_present(h, H_X_FORWARDED_PROTO):
        unsaid |= id_bit(H_X_FORWARDED_PROTO)
    if not h.authority_len or (trusted and is_present(h, H_X_FORWARDED_HOST)):
        unsaid |= id_bit(H_X_FORWARDED_HOST)
    if not facts.port_len or (trusted and is_present(h, H_X_FORWARDED_PORT)):
        unsaid |= id_bit(H_X_FORWARDED_PORT)
    return unsaid


cdef inline int outgoing_request(
    Outgoing *g, const Head *h, const RequestShape *shape, const RequestFacts *facts
) noexcept nogil:
    """Fill `g` for the request head that goes upstream.

    h       of the client
    returns 0, or FAULT_LOOP if Via says that it was written here before

    Host is its writer's, by `shape.host`. A rule never touches it, nor framing or
    hop-by-hop fields.
    """
    g.sets = &shape.sets[facts.trusted & 1]
    g.rules = &shape.rules
    g.made = g.sets.made
    g.placed = 0
    if shape.x_forwarded:
        g.made &= ~x_forwarded_unsaid(h, facts)
    if (
        shape.via is not NULL
        and h.field_of[<int>H_VIA] >= 0
        and passed_through(h, shape.via, shape.via_len)
    ):
        return FAULT_LOOP
    return FAULT_NONE


cdef inline void outgoing_response(
    Outgoing *g, const Head *h, const ResponseShape *shape, bint dated
) noexcept nogil:
    """Fill `g` for the response head that goes to the client.

    h       of the upstream
    dated   a final response that has no Date of its own is given one (RFC 9110
            section 6.6.1)
    """
    g.sets = &shape.sets
    g.rules = &shape.rules
    g.made = g.sets.made
    g.placed = 0
    if not dated or h.status < 200 or is_present(h, H_DATE):
        g.made &= ~id_bit(H_DATE)


cdef inline void put_x_forwarded_for(
    Out *o, const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Append the chain of a trusted proxy, and behind it the peer's address."""
    cdef bint has_list = facts.trusted and put_list(o, h, H_X_FORWARDED_FOR)
    if has_address(facts):
        if has_list:
            put_text(o, ", ")
        put_value(o, facts.peer, facts.peer_len)
