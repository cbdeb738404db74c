"""What is remembered of an exchange, and written down when it has ended.

Runs in: worker. The request head is gone when the line is written, so what the
line needs of it is copied while it is there: nothing at all when the log is off.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.string cimport memset

from fastgate.dataplane.accesslog cimport (
    LOG_JSON, LOG_OFF, LogRecord, Text, log_line,
)
from fastgate.dataplane.atomics cimport fg_bump, fg_bump32
from fastgate.dataplane.conn cimport Exchange, Worker
from fastgate.dataplane.faults cimport (
    FAULT_AMBIGUOUS_PATH, FAULT_NONE, fault_info,
)
from fastgate.dataplane.memory cimport bytes_append
from fastgate.dataplane.rewrite cimport client_address
from fastgate.dataplane.wire cimport (
    H_AUTHORIZATION, H_REFERER, H_USER_AGENT, Field, Head, same_name,
)

cdef enum:
    MAX_STASHED = 4096          # of one value: a longer one is cut in the log
    MAX_USER = 256


cdef uint32_t keep(Exchange *x, const char *at, size_t n) noexcept nogil:
    if n > MAX_STASHED:
        n = MAX_STASHED
    return <uint32_t>n if bytes_append(&x.stash.bytes, at, n) else 0


cdef const Field *field(const Head *h, int id) noexcept nogil:
    if h.field_of[id] < 0:
        return NULL
    return &h.fields[h.field_of[id]]


cdef void record_begin(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """Copy what the log line will say of the request."""
    cdef const Field *f
    cdef char client[64]
    cdef char user[MAX_USER]
    cdef size_t n
    if w.log.format == LOG_OFF:
        return
    x.stash.line_len = keep(x, h.line, h.line_len)
    f = field(h, H_REFERER)
    x.stash.has_referer = f is not NULL
    if f is not NULL:
        x.stash.referer_len = keep(x, f.value, f.value_len)
    f = field(h, H_USER_AGENT)
    x.stash.has_agent = f is not NULL
    if f is not NULL:
        x.stash.agent_len = keep(x, f.value, f.value_len)
    f = field(h, H_AUTHORIZATION)
    if f is not NULL:
        n = basic_user(f.value, f.value_len, user)
        x.stash.user_len = keep(x, user, n)
    if x.client.peer_trusted:
        n = client_address(
            h, w.gateway.trusted, w.gateway.n_trusted,
            x.client.peer, x.client.peer_len, client, sizeof(client),
        )
        x.stash.client_len = keep(x, client, n)
    else:
        x.stash.client_len = keep(x, x.client.peer, x.client.peer_len)
    if w.log.format == LOG_JSON:
        x.stash.host_len = keep(x, h.host, h.host_len)


cdef void record_id(Exchange *x, const char *id, size_t n) noexcept nogil:
    """The request's X-Request-ID; called last, and only with JSON lines."""
    x.stash.id_len = keep(x, id, n)


cdef size_t basic_user(const char *at, size_t n, char *out) noexcept nogil:
    """The user of `Basic base64(user:password)` (RFC 7617); 0: there is none."""
    cdef uint32_t bits = 0
    cdef int have = 0
    cdef size_t used = 0
    cdef size_t i
    cdef int value
    cdef char c
    if n < 6 or not same_name(at, b"basic ", 6):
        return 0
    for i in range(6, n):
        value = base64_value(at[i])
        if value < 0:
            return 0
        bits = (bits << 6) | <uint32_t>value
        have += 6
        if have >= 8:
            have -= 8
            c = <char>((bits >> have) & 0xFF)
            if c == b":":
                return used
            if used == MAX_USER:
                return 0
            out[used] = c
            used += 1
    return 0


cdef int base64_value(char c) noexcept nogil:
    if b"A" <= c <= b"Z":
        return c - <char>b"A"
    if b"a" <= c <= b"z":
        return c - <char>b"a" + 26
    if b"0" <= c <= b"9":
        return c - <char>b"0" + 52
    if c == b"+":
        return 62
    if c == b"/":
        return 63
    return -1


cdef void take(Text *t, const char **at, uint32_t n) noexcept nogil:
    t.at = at[0]
    t.len = n
    at[0] += n


cdef void record_end(Worker *w, Exchange *x) noexcept nogil:
    """Count the exchange, and write its line."""
    cdef LogRecord r
    cdef const char *at
    cdef int group = x.status // 100
    cdef const char *reason
    fg_bump32(&w.row.exchanges, -1)
    fg_bump(&w.row.statuses[group if 0 < group <= 5 else 0], 1)
    if x.fault != FAULT_NONE:
        fg_bump(&w.row.faults, 1)
    if w.log.format == LOG_OFF:
        return
    memset(&r, 0, sizeof(r))
    at = x.stash.bytes.data
    take(&r.request_line, &at, x.stash.line_len)
    take(&r.referer, &at, x.stash.referer_len)
    take(&r.user_agent, &at, x.stash.agent_len)
    take(&r.remote_user, &at, x.stash.user_len)
    take(&r.remote_addr, &at, x.stash.client_len)
    take(&r.host, &at, x.stash.host_len)
    take(&r.request_id, &at, x.stash.id_len)
    if not x.stash.has_referer:
        r.referer.at = NULL
    if not x.stash.has_agent:
        r.user_agent.at = NULL
    if x.route >= 0:
        r.route = w.routes[x.route].name
    if x.fault == FAULT_AMBIGUOUS_PATH:
        r.is_ambiguous = True
        if x.other_route >= 0:
            r.other_route = w.routes[x.other_route].name
    if x.group >= 0:
        r.upstream = w.upstream_plans[x.group].name
    if x.last_endpoint >= 0:
        r.endpoint = w.endpoint_plans[x.last_endpoint].address
    reason = fault_info(x.fault).reason
    r.reason.at = reason
    while reason[r.reason.len]:
        r.reason.len += 1
    r.status = x.status
    if x.status == 0 and x.fault != FAULT_NONE:
        r.status = fault_info(x.fault).status
    r.retries = x.retries
    r.bytes_in = x.request_bytes
    r.bytes_out = x.response_bytes
    r.total_us = w.now_us - x.started_us
    r.upstream_us = x.head_us
    log_line(&w.log, &r)
