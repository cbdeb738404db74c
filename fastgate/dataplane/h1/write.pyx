"""HTTP/1.1 from heads and body bytes to the wire. Runs in: worker.

Which fields go out is http/outgoing's to say, copying and checking are http/writer's:
here they become lines.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from fastgate.dataplane.base.words cimport put_padded
from fastgate.dataplane.base.faults cimport (
    FAULT_BAD_HEADER, FAULT_HEAD_TOO_LARGE, FAULT_INTERNAL, FAULT_UPSTREAM_BAD,
)
from fastgate.dataplane.conn.conn cimport conn_write
from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport (
    Field, H_DATE, H_FORWARDED, H_SERVER, H_VIA, H_X_FORWARDED_FOR,
    H_X_FORWARDED_HOST, H_X_FORWARDED_PORT, H_X_FORWARDED_PROTO, H_X_REQUEST_ID,
)
from fastgate.dataplane.http.outgoing cimport (
    Outgoing, outgoing_request, outgoing_response, put_forwarded, put_request_id,
    put_via, put_x_forwarded_for,
)
from fastgate.dataplane.http.rules cimport FIELD_PASSES, Rule, next_added, rule_of
from fastgate.dataplane.http.status cimport reason_phrase
from fastgate.dataplane.http.writer cimport (
    Out, begin, copy_name, copy_value, fail, fits, is_tchar, is_value, put_number,
    put_target, put_text, put_value,
)

cdef const char *HEX = "0123456789abcdef"

# --- fields -------------------------------------------------------------------


cdef inline void put_field(
    Out *o, const char *name, size_t name_len, const char *value, size_t value_len
) noexcept nogil:
    """Append one whole field line, or fail."""
    cdef char *at = o.at
    if not fits(o, name_len + value_len + 4):
        return
    if not copy_name(at, name, name_len):
        fail(o, o.bad_fault)
        return
    at += name_len
    memcpy(at, <const char *>": ", 2)
    at += 2
    if not copy_value(at, value, value_len):
        fail(o, o.bad_fault)
        return
    at += value_len
    memcpy(at, <const char *>"\r\n", 2)
    o.at = at + 2


cdef inline void put_rule(Out *o, const Rule *rule) noexcept nogil:
    put_field(o, rule.name, rule.name_len, rule.value, rule.value_len)


cdef bint admit(
    Out *o, Outgoing *g, uint32_t id, const char *name, size_t n
) noexcept nogil:
    """May a field of this name be written? Puts a SET's value in its place."""
    cdef int i = rule_of(g.rules, &g.placed, id, name, n)
    if i >= 0:
        put_rule(o, &g.rules.rules[i])
    return i == FIELD_PASSES


cdef inline bint is_made(
    Out *o, Outgoing *g, uint32_t id, const char *name
) noexcept nogil:
    """Is the gateway to write this field of its own making?"""
    return g.made >> id & 1 and (
        not g.sets.look >> id & 1 or admit(o, g, id, name, strlen(name))
    )


cdef inline void put_fields(Out *o, const Head *h, Outgoing *g) noexcept nogil:
    """Append the fields that pass, in their order, with the names they came with."""
    cdef uint64_t skip = g.sets.skip
    cdef uint64_t look = g.sets.look
    cdef const Field *f
    cdef int i
    for i in range(h.n_fields):
        f = &h.fields[i]
        if f.dropped:
            continue
        if (skip | look) >> f.id & 1:
            if skip >> f.id & 1:
                continue
            if not admit(o, g, f.id, f.name, f.name_len):
                continue
        put_field(o, f.name, f.name_len, f.value, f.value_len)


cdef void put_rules(Out *o, const Outgoing *g) noexcept nogil:
    """Append what the rules add."""
    cdef int i = next_added(g.rules, 0, g.placed, g.sets.protected)
    while i >= 0:
        put_rule(o, &g.rules.rules[i])
        i = next_added(g.rules, i + 1, g.placed, g.sets.protected)


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


# --- requests -----------------------------------------------------------------


cdef inline void put_x_forwarded(
    Out *o, const Head *h, const RequestFacts *facts, Outgoing *g
) noexcept nogil:
    if is_made(o, g, H_X_FORWARDED_FOR, "X-Forwarded-For"):
        put_text(o, "X-Forwarded-For: ")
        put_x_forwarded_for(o, h, facts)
        put_text(o, "\r\n")
    if is_made(o, g, H_X_FORWARDED_PROTO, "X-Forwarded-Proto"):
        put_text(o, "X-Forwarded-Proto: ")
        put_value(o, facts.scheme, facts.scheme_len)
        put_text(o, "\r\n")
    if is_made(o, g, H_X_FORWARDED_HOST, "X-Forwarded-Host"):
        put_text(o, "X-Forwarded-Host: ")
        put_value(o, h.authority, h.authority_len)
        put_text(o, "\r\n")
    if is_made(o, g, H_X_FORWARDED_PORT, "X-Forwarded-Port"):
        put_text(o, "X-Forwarded-Port: ")
        put_value(o, facts.port, facts.port_len)
        put_text(o, "\r\n")


cdef ssize_t write_request(
    char *out, size_t room, const Head *h,
    const RequestShape *shape, const RequestFacts *facts
) noexcept nogil:
    """Write the request head that goes upstream, always HTTP/1.1.

    out     room bytes; what it holds after a fault is undefined
    h       of the client; its spans are read, nothing of it is changed
    returns bytes written, -FAULT_HEAD_TOO_LARGE if `room` is too small,
            -FAULT_BAD_HEADER if a byte may not stand where it stands, or what
            outgoing_request() finds wrong

    Host comes first (RFC 9112 section 3.2), then the client's fields in order,
    then framing, then what the gateway says of the client, then what rules add.
    """
    cdef Out o
    cdef Outgoing g
    cdef int fault = outgoing_request(&g, h, shape, facts)
    if fault:
        return -fault
    begin(&o, out, room, FAULT_BAD_HEADER, FAULT_HEAD_TOO_LARGE)

    put_value(&o, h.method_name, h.method_len)
    put_text(&o, " ")
    put_target(&o, h.raw_path, h.raw_path_len + h.query_len)
    put_text(&o, " HTTP/1.1\r\nHost: ")
    if shape.host is not NULL:
        put_value(&o, shape.host, shape.host_len)
    else:
        put_value(&o, h.authority, h.authority_len)
    put_text(&o, "\r\n")

    put_fields(&o, h, &g)

    if h.chunked:
        put_text(&o, "Transfer-Encoding: chunked\r\n")
    elif h.content_length >= 0:
        put_text(&o, "Content-Length: ")
        put_number(&o, h.content_length)
        put_text(&o, "\r\n")
    if facts.tunnel:
        put_upgrade(&o, h)

    if shape.x_forwarded:
        put_x_forwarded(&o, h, facts, &g)
    if is_made(&o, &g, H_FORWARDED, "Forwarded"):
        put_text(&o, "Forwarded: ")
        put_forwarded(&o, h, facts)
        put_text(&o, "\r\n")
    if is_made(&o, &g, H_X_REQUEST_ID, "X-Request-ID"):
        put_text(&o, "X-Request-ID: ")
        put_request_id(&o, h, facts)
        put_text(&o, "\r\n")
    if is_made(&o, &g, H_VIA, "Via"):
        put_text(&o, "Via: ")
        put_via(&o, h, shape.via, shape.via_len)
        put_text(&o, "\r\n")
    if shape.rules.n:
        put_rules(&o, &g)
    put_text(&o, "\r\n")
    return -o.fault if o.fault else o.at - out


# --- responses ----------------------------------------------------------------


cdef void put_status(
    Out *o, int status, const char *reason, size_t n
) noexcept nogil:
    """Append the status line, of three digits; a reason that is none is replaced."""
    cdef const char *phrase = reason_phrase(status)
    put_text(o, "HTTP/1.1 ")
    if fits(o, 4):
        o.at = put_padded(o.at, status, 3)
        o.at[0] = c' '
        o.at += 1
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
            own; NULL: none
    returns bytes written, -FAULT_UPSTREAM_BAD if a byte may not stand where it
            stands or the status is no three digits, or -FAULT_INTERNAL if
            `room` is too small

    Bodiless: RFC 9110 section 8.6 keeps Content-Length for HEAD and 304, where it
    tells of another answer, and forbids it in 1xx and 204.
    """
    cdef Out o
    cdef Outgoing g
    cdef int64_t length = framing.content_length
    if not 100 <= h.status <= 999:
        return -FAULT_UPSTREAM_BAD
    outgoing_response(&g, h, shape, date is not NULL)
    begin(&o, out, room, FAULT_UPSTREAM_BAD, FAULT_INTERNAL)

    put_status(&o, h.status, h.reason, h.reason_len)
    put_fields(&o, h, &g)

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

    if is_made(&o, &g, H_DATE, "Date"):
        put_text(&o, "Date: ")
        put_value(&o, date, strlen(date))
        put_text(&o, "\r\n")
    if is_made(&o, &g, H_SERVER, "Server"):
        put_text(&o, "Server: ")
        put_value(&o, shape.server, shape.server_len)
        put_text(&o, "\r\n")
    if is_made(&o, &g, H_VIA, "Via"):
        put_text(&o, "Via: ")
        put_via(&o, h, shape.via, shape.via_len)
        put_text(&o, "\r\n")
    if shape.rules.n:
        put_rules(&o, &g)
    put_text(&o, "\r\n")
    return -o.fault if o.fault else o.at - out


cdef ssize_t write_reply(
    char *out, size_t room, int status, const char *text, const Page *page,
    const char *server, uint32_t server_len, const char *date, const char *allow,
    bint close, bint head_only
) noexcept nogil:
    """Write an answer of the gateway's own: whole with its one line of text, or the
    head alone of one that has a page for its body.

    text    NUL-terminated; empty or NULL: the status's own phrase
    page    the body, which the caller sends; NULL: the text is
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
    put_text(&o, "Content-Type: ")
    if page is not NULL:
        put_value(&o, page.content_type.at, page.content_type.len)
    else:
        put_text(&o, "text/plain; charset=utf-8")
    put_text(&o, "\r\nContent-Length: ")
    put_number(&o, page.body.len if page else <int64_t>strlen(text) + 5)
    if status == 503:
        put_text(&o, "\r\nRetry-After: 1")
    elif allow is not NULL and status == 405:
        # It must be there, and may be empty (RFC 9110 section 15.5.6).
        put_text(&o, "\r\nAllow: ")
        put_text(&o, allow)
    if close:
        put_text(&o, "\r\nConnection: close")
    put_text(&o, "\r\n\r\n")
    if page is NULL and not head_only:
        put_number(&o, status)
        put_text(&o, " ")
        put_value(&o, text, strlen(text))
        put_text(&o, "\n")
    return -o.fault if o.fault else o.at - out


# --- bodies -------------------------------------------------------------------


cdef void write_chunk(Worker *w, Conn *c, const char *data, size_t n) noexcept nogil:
    """`n` > 0 bytes as one chunk (RFC 9112 section 7.1)."""
    cdef char size[20]
    cdef int at = 18
    cdef size_t rest = n
    size[18] = b"\r"
    size[19] = b"\n"
    while rest:
        at -= 1
        size[at] = HEX[rest & 15]
        rest >>= 4
    conn_write(w, c, size + at, 20 - at)
    conn_write(w, c, data, n)
    conn_write(w, c, b"\r\n", 2)
