"""What goes out, in no protocol's words: its sets, and the values that are made.

Runs in: master (the sets), worker (the values).
"""

from fastgate.dataplane.http.message cimport (
    H_CONNECTION, H_CONTENT_LENGTH, H_FORWARDED, H_HOST, H_HTTP2_SETTINGS,
    H_KEEP_ALIVE, H_PROXY_CONNECTION, H_SERVER, H_TRANSFER_ENCODING, H_UPGRADE,
    H_X_FORWARDED_OTHER, H_X_FORWARDED_PREFIX, H_X_REAL_IP, H_X_REQUEST_ID,
)
from fastgate.dataplane.http.rules cimport ids_of
from fastgate.dataplane.http.writer cimport is_token

cdef enum:
    MAX_REQUEST_ID_BYTES = 128  # a longer one is replaced: it is copied into logs
    OWN_ID_BYTES = 32           # as random_id() makes it


cdef uint64_t framing_ids() noexcept nogil:
    """The gateway frames its own messages: these never pass as they came.

    (The other hop-by-hop fields, and those that Connection lists, are `dropped`.)
    """
    return (
        id_bit(H_CONTENT_LENGTH) | id_bit(H_TRANSFER_ENCODING) | id_bit(H_CONNECTION)
        | id_bit(H_KEEP_ALIVE) | id_bit(H_PROXY_CONNECTION) | id_bit(H_UPGRADE)
        | id_bit(H_HTTP2_SETTINGS)
    )


cdef uint64_t claim_ids() noexcept nogil:
    """What only a trusted proxy may say of the client (THREATS 49)."""
    return (
        id_bit(H_X_FORWARDED_FOR) | id_bit(H_X_FORWARDED_PROTO)
        | id_bit(H_X_FORWARDED_HOST) | id_bit(H_X_FORWARDED_PORT)
        | id_bit(H_X_FORWARDED_PREFIX) | id_bit(H_X_FORWARDED_OTHER)
        | id_bit(H_X_REAL_IP) | id_bit(H_FORWARDED)
    )


cdef void settle_request(RequestShape *shape) noexcept nogil:
    """`made` is all that a head may be given: outgoing_request() takes out of it what
    is unknown, or said by a trusted proxy. The other X-Forwarded-* are no lists: what
    such a proxy says in one of them passes as it came.
    """
    cdef uint64_t instead = 0, made = 0
    cdef Sets *sets = shape.sets
    if shape.x_forwarded:
        instead |= id_bit(H_X_FORWARDED_FOR)
        made |= (
            id_bit(H_X_FORWARDED_PROTO) | id_bit(H_X_FORWARDED_HOST)
            | id_bit(H_X_FORWARDED_PORT)
        )
    if shape.forwarded:
        instead |= id_bit(H_FORWARDED)
    if shape.request_id:
        instead |= id_bit(H_X_REQUEST_ID)
    if shape.via is not NULL:
        instead |= id_bit(H_VIA)
    sets.protected = framing_ids() | id_bit(H_HOST)
    sets.look = ids_of(&shape.rules)
    sets.made = made | instead
    sets[1] = sets[0]
    sets[1].skip = sets.protected | instead
    sets[0].skip = sets[1].skip | claim_ids()


cdef void settle_response(ResponseShape *shape) noexcept nogil:
    cdef Sets *sets = &shape.sets
    sets.protected = sets.skip = framing_ids()
    sets.look = ids_of(&shape.rules)
    sets.made = id_bit(H_DATE)
    if shape.server is not NULL:
        sets.skip |= id_bit(H_SERVER)
        if shape.server_len:
            sets.made |= id_bit(H_SERVER)
    if shape.via is not NULL:
        sets.skip |= id_bit(H_VIA)
        sets.made |= id_bit(H_VIA)


cdef bint put_list(Out *o, const Head *h, HeaderId id) noexcept nogil:
    """Append the values of all fields of `id`, joined by ", "; was there any?

    RFC 9110 section 5.3: several lines of one list field mean the joined list.
    """
    cdef int i = h.field_of[<int>id]
    cdef bint any_yet = False
    cdef const Field *f
    while 0 <= i < h.n_fields:
        f = &h.fields[i]
        if f.id == id and not f.dropped and f.value_len:
            if any_yet:
                put_text(o, ", ")
            put_value(o, f.value, f.value_len)
            any_yet = True
        i += 1
    return any_yet


cdef void put_quoted(Out *o, const char *p, size_t n) noexcept nogil:
    """Append a parameter value: a token as it is, else a quoted-string."""
    cdef size_t i
    if is_token(p, n):
        put_value(o, p, n)
        return
    put_text(o, '"')
    for i in range(n):
        if p[i] == c'"' or p[i] == c'\\':
            put_text(o, "\\")
        put_value(o, p + i, 1)
    put_text(o, '"')


cdef void put_scheme(Out *o, const Head *h, const RequestFacts *facts) noexcept nogil:
    """Append the client's scheme as X-Forwarded-Proto has it: one truth for both.

    A trusted proxy that ended TLS says `https` there while it speaks http to us. What
    is not one word there is no scheme.
    """
    cdef const Field *f = NULL
    if facts.trusted:
        f = present(h, H_X_FORWARDED_PROTO)
    if f is not NULL and is_token(f.value, f.value_len):
        put_value(o, f.value, f.value_len)
    else:
        put_value(o, facts.scheme, facts.scheme_len)


cdef void put_forwarded(
    Out *o, const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Append the list of a trusted proxy, and behind it this hop's element.

    RFC 7239 sections 4 to 6.
    """
    if facts.trusted and put_list(o, h, H_FORWARDED):
        put_text(o, ", ")
    if not has_address(facts):
        put_text(o, "for=unknown")
    elif facts.peer_is_v6:
        put_text(o, 'for="[')
        put_value(o, facts.peer, facts.peer_len)
        put_text(o, ']"')
    else:
        put_text(o, "for=")
        put_value(o, facts.peer, facts.peer_len)
    if h.authority_len:
        put_text(o, ";host=")
        put_quoted(o, h.authority, h.authority_len)
    put_text(o, ";proto=")
    put_scheme(o, h, facts)


cdef bint is_id(const char *p, size_t n) noexcept nogil:
    """Are all bytes letters, digits or one of `._~+/=:-`? One bit a byte."""
    cdef size_t i
    cdef uint64_t bits
    for i in range(n):
        bits = 0x47fffffe87fffffeU if p[i] & 64 else 0x27ffe80000000000U
        if p[i] < 0 or not bits >> (p[i] & 63) & 1:
            return False
    return True


cdef const Field *sane_request_id(const Head *h) noexcept nogil:
    """The client's one X-Request-ID if it may be kept and logged, else NULL."""
    cdef int i = h.field_of[<int>H_X_REQUEST_ID]
    cdef const Field *found = NULL
    cdef const Field *f
    while 0 <= i < h.n_fields:
        f = &h.fields[i]
        if f.id == H_X_REQUEST_ID and not f.dropped:
            if found is not NULL:
                return NULL
            found = f
        i += 1
    if found is NULL or not 0 < found.value_len <= MAX_REQUEST_ID_BYTES:
        return NULL
    return found if is_id(found.value, found.value_len) else NULL


cdef void put_request_id(
    Out *o, const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Append the client's id where it is sane, else our own."""
    cdef const Field *kept = sane_request_id(h)
    if kept is not NULL:
        put_value(o, kept.value, kept.value_len)
    else:
        put_value(o, facts.request_id, OWN_ID_BYTES)


cdef void put_via(Out *o, const Head *h, const char *name, size_t n) noexcept nogil:
    """Append the list so far and this hop (RFC 9110 section 7.6.3)."""
    if put_list(o, h, H_VIA):
        put_text(o, ", ")
    put_text(o, "1.1 " if h.minor else "1.0 ")
    put_value(o, name, n)
