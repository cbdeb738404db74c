"""What goes out, in no protocol's words: which fields pass, which are made, and how.

Runs in: worker. A side that writes heads asks here which fields of the other side
pass and which the gateway adds, and has their values made here; the lines or frames
they travel in are its own.

What happens to a field is one bit: `skip` has a bit for every HeaderId that is left
out, `look` one for each that some rule names; a field whose bit is clear in both is
copied and costs no more than that. What every head needs is inline.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastgate.dataplane.base.faults cimport FAULT_INTERNAL, FAULT_LOOP, FAULT_NONE
from fastgate.dataplane.http.message cimport (
    Field, H_CONNECTION, H_CONTENT_LENGTH, H_DATE, H_FORWARDED, H_HOST,
    H_HTTP2_SETTINGS, H_KEEP_ALIVE, H_PROXY_CONNECTION, H_SERVER,
    H_TRANSFER_ENCODING, H_UPGRADE, H_VIA, H_X_FORWARDED_FOR, H_X_FORWARDED_HOST,
    H_X_FORWARDED_OTHER, H_X_FORWARDED_PORT, H_X_FORWARDED_PREFIX,
    H_X_FORWARDED_PROTO, H_X_REAL_IP, H_X_REQUEST_ID, Head, HeaderId, id_bit,
)
from fastgate.dataplane.http.rules cimport MAX_RULES, Rules, ids_of
from fastgate.dataplane.http.via cimport passed_through
from fastgate.dataplane.http.writer cimport Out, put_text, put_value

cdef struct RequestShape:   # of a route; borrowed from the plan
    const char *host        # what Host becomes; NULL: the client's is kept
    uint32_t host_len
    uint8_t x_forwarded     # X-Forwarded-For, -Proto, -Host, -Port
    uint8_t forwarded       # Forwarded, RFC 7239
    uint8_t request_id      # X-Request-ID
    const char *via         # what Via calls this gateway; NULL: no Via
    uint32_t via_len
    Rules rules

cdef struct RequestFacts:   # of one exchange
    const char *peer        # the peer's address as text ("unix:" for a Unix socket)
    uint32_t peer_len
    uint8_t peer_is_v6
    uint8_t trusted         # the peer is a trusted proxy: its chain is continued
    uint16_t local_port     # of the listener; 0 for a Unix socket
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

cdef struct Framing:        # how the body of a response is sent to the client
    int64_t content_length  # >= 0: counted
    uint8_t chunked
    uint8_t bodiless        # HEAD, 1xx, 204, 304: fields of length are kept as they are
    uint8_t close           # say Connection: close
    uint8_t client_minor    # 0: an HTTP/1.0 client, told keep-alive when not close
    uint8_t tunnel          # 101: Connection: upgrade and Upgrade go through

cdef struct Outgoing:       # the fields of one head on its way; sets of HeaderIds
    uint64_t skip           # do not pass as they came
    uint64_t made           # the gateway writes them, behind those that pass
    uint64_t look           # some rule names them: rule_of() decides
    uint64_t protected      # no rule adds them
    uint64_t placed         # a bit each of a Rule: a SET that stands in the head
    const Rules *rules

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


cdef inline uint64_t framing_ids() noexcept nogil:
    """The gateway frames its own messages: these never pass as they came.

    (The other hop-by-hop fields, and those that Connection lists, are `dropped`.)
    """
    return (
        id_bit(H_CONTENT_LENGTH) | id_bit(H_TRANSFER_ENCODING) | id_bit(H_CONNECTION)
        | id_bit(H_KEEP_ALIVE) | id_bit(H_PROXY_CONNECTION) | id_bit(H_UPGRADE)
        | id_bit(H_HTTP2_SETTINGS)
    )


cdef inline uint64_t claim_ids() noexcept nogil:
    """What only a trusted proxy may say of the client (THREATS 49)."""
    return (
        id_bit(H_X_FORWARDED_FOR) | id_bit(H_X_FORWARDED_PROTO)
        | id_bit(H_X_FORWARDED_HOST) | id_bit(H_X_FORWARDED_PORT)
        | id_bit(H_X_FORWARDED_PREFIX) | id_bit(H_X_FORWARDED_OTHER)
        | id_bit(H_X_REAL_IP) | id_bit(H_FORWARDED)
    )


cdef inline int begin(
    Outgoing *g, const Rules *rules, uint64_t protected
) noexcept nogil:
    g.rules = rules
    g.protected = g.skip = protected
    g.made = g.look = g.placed = 0
    if rules.n:
        if rules.n > MAX_RULES:
            return FAULT_INTERNAL
        g.look = ids_of(rules)
    return FAULT_NONE


cdef inline uint64_t x_forwarded_made(
    const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Those of X-Forwarded-* that are made: what a trusted proxy says, we do not."""
    cdef bint trusted = facts.trusted
    cdef uint64_t made = 0
    if has_address(facts) or (trusted and is_present(h, H_X_FORWARDED_FOR)):
        made |= id_bit(H_X_FORWARDED_FOR)
    if not (trusted and is_present(h, H_X_FORWARDED_PROTO)):
        made |= id_bit(H_X_FORWARDED_PROTO)
    if h.authority_len and not (trusted and is_present(h, H_X_FORWARDED_HOST)):
        made |= id_bit(H_X_FORWARDED_HOST)
    if facts.local_port and not (trusted and is_present(h, H_X_FORWARDED_PORT)):
        made |= id_bit(H_X_FORWARDED_PORT)
    return made


cdef inline int outgoing_request(
    Outgoing *g, const Head *h, const RequestShape *shape, const RequestFacts *facts
) noexcept nogil:
    """Fill `g` for the request head that goes upstream.

    h       of the client
    returns 0, FAULT_LOOP if Via says that it was written here before, or
            FAULT_INTERNAL if there are more rules than MAX_RULES

    Host is its writer's, by `shape.host`. A rule never touches it, nor framing or
    hop-by-hop fields.
    """
    cdef int fault = begin(g, &shape.rules, framing_ids() | id_bit(H_HOST))
    if fault != FAULT_NONE:
        return fault
    if not facts.trusted:
        g.skip |= claim_ids()
    if shape.x_forwarded:
        g.skip |= id_bit(H_X_FORWARDED_FOR)
        g.made |= x_forwarded_made(h, facts)
    if shape.forwarded:
        g.skip |= id_bit(H_FORWARDED)
        g.made |= id_bit(H_FORWARDED)
    if shape.request_id:
        g.skip |= id_bit(H_X_REQUEST_ID)
        g.made |= id_bit(H_X_REQUEST_ID)
    if shape.via is not NULL:
        if passed_through(h, shape.via, shape.via_len):
            return FAULT_LOOP
        g.skip |= id_bit(H_VIA)
        g.made |= id_bit(H_VIA)
    return FAULT_NONE


cdef inline int outgoing_response(
    Outgoing *g, const Head *h, const ResponseShape *shape, bint dated
) noexcept nogil:
    """Fill `g` for the response head that goes to the client.

    h       of the upstream
    dated   a final response that has no Date of its own is given one (RFC 9110
            section 6.6.1)
    returns 0, or FAULT_INTERNAL if there are more rules than MAX_RULES
    """
    cdef int fault = begin(g, &shape.rules, framing_ids())
    if fault != FAULT_NONE:
        return fault
    if dated and h.status >= 200 and not is_present(h, H_DATE):
        g.made |= id_bit(H_DATE)
    if shape.server is not NULL:
        g.skip |= id_bit(H_SERVER)
        if shape.server_len:
            g.made |= id_bit(H_SERVER)
    if shape.via is not NULL:
        g.skip |= id_bit(H_VIA)
        g.made |= id_bit(H_VIA)
    return FAULT_NONE


cdef inline void put_x_forwarded_for(
    Out *o, const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Append the chain of a trusted proxy, and behind it the peer's address."""
    cdef bint has_list = facts.trusted and put_list(o, h, H_X_FORWARDED_FOR)
    if has_address(facts):
        if has_list:
            put_text(o, ", ")
        put_value(o, facts.peer, facts.peer_len)
