"""A Head to bytes again. Runs in: worker.

What happens to a field is one bit: `skip` has a bit for every HeaderId that is left
out, `look` one for each that some rule names; a field whose bit is clear in both is
copied and costs no more than that. Copying and checking are writer.pxd's.
"""

from libc.stdint cimport uint64_t
from libc.string cimport strlen

from fastgate.dataplane.base.faults cimport (
    FAULT_BAD_HEADER, FAULT_HEAD_TOO_LARGE, FAULT_INTERNAL, FAULT_LOOP,
    FAULT_UPSTREAM_BAD,
)
from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport (
    Field, H_CONNECTION, H_CONTENT_LENGTH, H_DATE, H_FORWARDED, H_HOST,
    H_HTTP2_SETTINGS,
    H_KEEP_ALIVE, H_PROXY_CONNECTION, H_SERVER, H_TRANSFER_ENCODING, H_UPGRADE,
    H_VIA, H_X_FORWARDED_FOR, H_X_FORWARDED_HOST, H_X_FORWARDED_OTHER,
    H_X_FORWARDED_PORT, H_X_FORWARDED_PREFIX, H_X_FORWARDED_PROTO, H_X_REAL_IP,
    H_X_REQUEST_ID, HeaderId, id_bit,
)
from fastgate.dataplane.h1.via cimport passed_through
from fastgate.dataplane.h1.writer cimport (
    Out, begin, is_tchar, is_token, is_value, put_field, put_number, put_target,
    put_text, put_value,
)
from fastgate.dataplane.http.rules cimport (
    FIELD_PASSES, MAX_RULES, Rule, ids_of, next_added, rule_of,
)
from fastgate.dataplane.http.status cimport reason_phrase

cdef enum:
    MAX_REQUEST_ID_BYTES = 128  # a longer one is replaced: it is copied into logs


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


cdef const Field *present(const Head *h, HeaderId id) noexcept nogil:
    """The first field of `id` that is passed on; NULL: there is none."""
    cdef int i = h.field_of[<int>id]
    while 0 <= i < h.n_fields:
        if h.fields[i].id == id and not h.fields[i].dropped:
            return &h.fields[i]
        i += 1
    return NULL


cdef inline bint is_present(const Head *h, HeaderId id) noexcept nogil:
    return present(h, id) is not NULL


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


# --- fields -------------------------------------------------------------------


cdef bint admit(
    Out *o, const Rules *rules, uint64_t *placed,
    uint32_t id, const char *name, size_t n
) noexcept nogil:
    """May a field of this name be written? Puts a SET's value in its place."""
    cdef int i = rule_of(rules, placed, id, name, n)
    if i >= 0:
        put_rule(o, &rules.rules[i])
    return i == FIELD_PASSES


cdef inline void put_rule(Out *o, const Rule *rule) noexcept nogil:
    put_field(o, rule.name, rule.name_len, rule.value, rule.value_len)


cdef void put_rules(
    Out *o, const Rules *rules, uint64_t placed, uint64_t protected
) noexcept nogil:
    """Append what the rules add."""
    cdef int i = next_added(rules, 0, placed, protected)
    while i >= 0:
        put_rule(o, &rules.rules[i])
        i = next_added(rules, i + 1, placed, protected)


cdef inline bint wanted(
    Out *o, const Rules *rules, uint64_t *placed, uint64_t look,
    uint32_t id, const char *name
) noexcept nogil:
    """May the gateway write this field of its own making?"""
    return not look >> id & 1 or admit(o, rules, placed, id, name, strlen(name))


cdef inline void put_fields(
    Out *o, const Head *h, const Rules *rules, uint64_t *placed,
    uint64_t skip, uint64_t look
) noexcept nogil:
    """Append the fields that pass, in their order, with the names they came with."""
    cdef int i
    cdef const Field *f
    for i in range(h.n_fields):
        f = &h.fields[i]
        if f.dropped:
            continue
        if (skip | look) >> f.id & 1:
            if skip >> f.id & 1:
                continue
            if not admit(o, rules, placed, f.id, f.name, f.name_len):
                continue
        put_field(o, f.name, f.name_len, f.value, f.value_len)


# --- requests -----------------------------------------------------------------


cdef bint offers_h2c(const char *p, size_t n) noexcept nogil:
    """Is h2c among the protocols of an Upgrade value (RFC 9110 section 7.8)?"""
    cdef size_t i = 0
    while i < n:
        while i < n and (p[i] == c' ' or p[i] == c'\t' or p[i] == c','):
            i += 1
        if n - i >= 3 and same_name(p + i, "h2c", 3) and (
            n - i == 3 or not is_tchar(<uint8_t>p[i + 3])
        ):
            return True
        while i < n and p[i] != c',':
            i += 1
    return False


cdef inline void put_upgrade(Out *o, const Head *h) noexcept nogil:
    """Append Connection and Upgrade of a tunnel; h2c never passes (THREATS 25)."""
    if h.upgrade_len and not offers_h2c(h.upgrade_value, h.upgrade_len):
        put_text(o, "Connection: upgrade\r\nUpgrade: ")
        put_value(o, h.upgrade_value, h.upgrade_len)
        put_text(o, "\r\n")


cdef inline bint has_address(const RequestFacts *facts) noexcept nogil:
    """Has the peer an address? One on a Unix socket has none to tell."""
    return facts.peer_len > 0 and (
        facts.peer_is_v6 or c'0' <= facts.peer[0] <= c'9'
    )


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


cdef void put_forwarded(
    Out *o, const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Append this hop's element of Forwarded, RFC 7239 sections 4 to 6."""
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


cdef inline void put_x_forwarded(
    Out *o, const Head *h, const RequestShape *shape, const RequestFacts *facts,
    uint64_t *placed, uint64_t look
) noexcept nogil:
    cdef const Rules *rules = &shape.rules
    cdef bint trusted = facts.trusted
    cdef bint has_list
    if has_address(facts) or (trusted and is_present(h, H_X_FORWARDED_FOR)):
        if wanted(o, rules, placed, look, H_X_FORWARDED_FOR, "X-Forwarded-For"):
            put_text(o, "X-Forwarded-For: ")
            has_list = trusted and put_list(o, h, H_X_FORWARDED_FOR)
            if has_address(facts):
                if has_list:
                    put_text(o, ", ")
                put_value(o, facts.peer, facts.peer_len)
            put_text(o, "\r\n")
    if not (trusted and is_present(h, H_X_FORWARDED_PROTO)):
        if wanted(o, rules, placed, look, H_X_FORWARDED_PROTO, "X-Forwarded-Proto"):
            put_text(o, "X-Forwarded-Proto: ")
            put_value(o, facts.scheme, facts.scheme_len)
            put_text(o, "\r\n")
    if h.authority_len and not (trusted and is_present(h, H_X_FORWARDED_HOST)):
        if wanted(o, rules, placed, look, H_X_FORWARDED_HOST, "X-Forwarded-Host"):
            put_text(o, "X-Forwarded-Host: ")
            put_value(o, h.authority, h.authority_len)
            put_text(o, "\r\n")
    if facts.local_port and not (trusted and is_present(h, H_X_FORWARDED_PORT)):
        if wanted(o, rules, placed, look, H_X_FORWARDED_PORT, "X-Forwarded-Port"):
            put_text(o, "X-Forwarded-Port: ")
            put_number(o, facts.local_port)
            put_text(o, "\r\n")


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


cdef inline void put_via(
    Out *o, const Head *h, const char *name, size_t n
) noexcept nogil:
    """Append Via: the list so far and this hop (RFC 9110 section 7.6.3)."""
    put_text(o, "Via: ")
    if put_list(o, h, H_VIA):
        put_text(o, ", ")
    put_text(o, "1.1 " if h.minor else "1.0 ")
    put_value(o, name, n)
    put_text(o, "\r\n")


cdef ssize_t write_request(
    char *out, size_t room, const Head *h,
    const RequestShape *shape, const RequestFacts *facts
) noexcept nogil:
    """Write the request head that goes upstream, always HTTP/1.1.

    out     room bytes; what it holds after a fault is undefined
    h       of the client; its spans are read, nothing of it is changed
    returns bytes written, -FAULT_HEAD_TOO_LARGE if `room` is too small,
            -FAULT_BAD_HEADER if a byte may not stand where it stands,
            -FAULT_LOOP if Via says that it was written here before, or
            -FAULT_INTERNAL if there are more rules than MAX_RULES

    Host comes first (RFC 9112 section 3.2), then the client's fields in order,
    then framing, then what the gateway says of the client, then what rules add.
    A rule never touches Host, framing or hop-by-hop fields.
    """
    cdef Out o
    cdef const Rules *rules = &shape.rules
    cdef const Field *kept_id = NULL
    cdef uint64_t placed = 0
    cdef uint64_t protected = framing_ids() | id_bit(H_HOST)
    cdef uint64_t skip = protected
    cdef uint64_t look = 0
    begin(&o, out, room, FAULT_BAD_HEADER, FAULT_HEAD_TOO_LARGE)
    if rules.n:
        if rules.n > MAX_RULES:
            return -FAULT_INTERNAL
        look = ids_of(rules)
    if not facts.trusted:
        skip |= claim_ids()
    if shape.x_forwarded:
        skip |= id_bit(H_X_FORWARDED_FOR)
    if shape.forwarded:
        skip |= id_bit(H_FORWARDED)
    if shape.request_id:
        skip |= id_bit(H_X_REQUEST_ID)
    if shape.via is not NULL:
        if passed_through(h, shape.via, shape.via_len):
            return -FAULT_LOOP
        skip |= id_bit(H_VIA)

    put_value(&o, h.method_name, h.method_len)
    put_text(&o, " ")
    put_target(&o, h.raw_path, h.raw_path_len + h.query_len)
    put_text(&o, " HTTP/1.1\r\nHost: ")
    if shape.host is not NULL:
        put_value(&o, shape.host, shape.host_len)
    else:
        put_value(&o, h.authority, h.authority_len)
    put_text(&o, "\r\n")

    put_fields(&o, h, rules, &placed, skip, look)

    if h.chunked:
        put_text(&o, "Transfer-Encoding: chunked\r\n")
    elif h.content_length >= 0:
        put_text(&o, "Content-Length: ")
        put_number(&o, h.content_length)
        put_text(&o, "\r\n")
    if facts.tunnel:
        put_upgrade(&o, h)

    if shape.x_forwarded:
        put_x_forwarded(&o, h, shape, facts, &placed, look)
    if shape.forwarded and wanted(
        &o, rules, &placed, look, H_FORWARDED, "Forwarded"
    ):
        put_text(&o, "Forwarded: ")
        if facts.trusted and put_list(&o, h, H_FORWARDED):
            put_text(&o, ", ")
        put_forwarded(&o, h, facts)
        put_text(&o, "\r\n")
    if shape.request_id and wanted(
        &o, rules, &placed, look, H_X_REQUEST_ID, "X-Request-ID"
    ):
        kept_id = sane_request_id(h)
        put_text(&o, "X-Request-ID: ")
        if kept_id is not NULL:
            put_value(&o, kept_id.value, kept_id.value_len)
        else:
            put_value(&o, facts.request_id, strlen(facts.request_id))
        put_text(&o, "\r\n")
    if shape.via is not NULL and wanted(&o, rules, &placed, look, H_VIA, "Via"):
        put_via(&o, h, shape.via, shape.via_len)
    if rules.n:
        put_rules(&o, rules, placed, protected)
    put_text(&o, "\r\n")
    return -o.fault if o.fault else o.at - out


# --- responses ----------------------------------------------------------------


cdef void put_status(
    Out *o, int status, const char *reason, size_t n
) noexcept nogil:
    """Append the status line; a reason that is no reason-phrase is replaced."""
    cdef const char *phrase = reason_phrase(status)
    put_text(o, "HTTP/1.1 ")
    put_number(o, status)
    put_text(o, " ")
    if n and is_value(reason, n):
        put_value(o, reason, n)
    else:
        put_value(o, phrase, strlen(phrase))
    put_text(o, "\r\n")


cdef ssize_t write_response(
    char *out, size_t room, const Head *h,
    const ResponseShape *shape, const Framing *framing, const char *date
) noexcept nogil:
    """Write the response head that goes to the client, always HTTP/1.1.

    out     room bytes; what it holds after a fault is undefined
    h       of the upstream
    date    now, as an IMF-fixdate: for a final response that has no Date of its
            own (RFC 9110 section 6.6.1); NULL: none
    returns bytes written, -FAULT_UPSTREAM_BAD if a byte may not stand where it
            stands or the status is no three digits, or -FAULT_INTERNAL if
            `room` is too small or there are more rules than MAX_RULES

    Bodiless: RFC 9110 section 8.6 keeps Content-Length for HEAD and 304, where it
    tells of another answer, and forbids it in 1xx and 204.
    """
    cdef Out o
    cdef const Rules *rules = &shape.rules
    cdef uint64_t placed = 0
    cdef uint64_t skip = framing_ids()
    cdef uint64_t look = 0
    cdef int64_t length = framing.content_length
    begin(&o, out, room, FAULT_UPSTREAM_BAD, FAULT_INTERNAL)
    if not 100 <= h.status <= 999:
        return -FAULT_UPSTREAM_BAD
    if rules.n:
        if rules.n > MAX_RULES:
            return -FAULT_INTERNAL
        look = ids_of(rules)
    if shape.server is not NULL:
        skip |= id_bit(H_SERVER)
    if shape.via is not NULL:
        skip |= id_bit(H_VIA)

    put_status(&o, h.status, h.reason, h.reason_len)
    put_fields(&o, h, rules, &placed, skip, look)

    if framing.bodiless:
        length = -1 if h.status < 200 or h.status == 204 else h.content_length
    if framing.chunked and not framing.bodiless:
        put_text(&o, "Transfer-Encoding: chunked\r\n")
    elif length >= 0 and not framing.tunnel:
        put_text(&o, "Content-Length: ")
        put_number(&o, length)
        put_text(&o, "\r\n")
    if framing.tunnel:
        put_upgrade(&o, h)
    elif framing.close:
        put_text(&o, "Connection: close\r\n")
    elif framing.client_minor == 0:
        put_text(&o, "Connection: keep-alive\r\n")

    if (
        date is not NULL
        and h.status >= 200
        and not is_present(h, H_DATE)
        and wanted(&o, rules, &placed, look, H_DATE, "Date")
    ):
        put_text(&o, "Date: ")
        put_value(&o, date, strlen(date))
        put_text(&o, "\r\n")
    if shape.server is not NULL and shape.server_len and wanted(
        &o, rules, &placed, look, H_SERVER, "Server"
    ):
        put_text(&o, "Server: ")
        put_value(&o, shape.server, shape.server_len)
        put_text(&o, "\r\n")
    if shape.via is not NULL and wanted(&o, rules, &placed, look, H_VIA, "Via"):
        put_via(&o, h, shape.via, shape.via_len)
    if rules.n:
        put_rules(&o, rules, placed, framing_ids())
    put_text(&o, "\r\n")
    return -o.fault if o.fault else o.at - out


cdef ssize_t write_reply(
    char *out, size_t room, int status, const char *text,
    const char *server, uint32_t server_len, const char *date, const char *allow,
    bint close, bint head_only
) noexcept nogil:
    """Write a whole answer of the gateway's own; its body is one line of text.

    text    NUL-terminated; empty or NULL: the status's own phrase
    server  the Server field; NULL or server_len 0: none
    date    an IMF-fixdate, NUL-terminated; NULL: no Date
    allow   the methods that a 405 tells of, NUL-terminated; NULL: it is no 405
    returns bytes written, or -FAULT_INTERNAL if it does not fit or may not be sent

    head_only leaves the body out but tells its length (RFC 9110 section 9.3.2).
    """
    cdef Out o
    begin(&o, out, room, FAULT_INTERNAL, FAULT_INTERNAL)
    if not 200 <= status <= 599:
        return -FAULT_INTERNAL
    if text is NULL or text[0] == 0:
        text = reason_phrase(status)
    put_status(&o, status, NULL, 0)
    if server is not NULL and server_len:
        put_text(&o, "Server: ")
        put_value(&o, server, server_len)
        put_text(&o, "\r\n")
    if date is not NULL:
        put_text(&o, "Date: ")
        put_value(&o, date, strlen(date))
        put_text(&o, "\r\n")
    put_text(&o, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ")
    put_number(&o, <int64_t>strlen(text) + 5)
    if status == 503:
        put_text(&o, "\r\nRetry-After: 1")
    elif allow is not NULL and status == 405:
        # It must be there, and may be empty (RFC 9110 section 15.5.6).
        put_text(&o, "\r\nAllow: ")
        put_text(&o, allow)
    if close:
        put_text(&o, "\r\nConnection: close")
    put_text(&o, "\r\n\r\n")
    if not head_only:
        put_number(&o, status)
        put_text(&o, " ")
        put_value(&o, text, strlen(text))
        put_text(&o, "\n")
    return -o.fault if o.fault else o.at - out
