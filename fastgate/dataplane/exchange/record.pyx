"""What is remembered of an exchange, and written down when it has ended.

Runs in: worker. The request head is gone when the line is written, so what the
line needs of it is copied while it is there: nothing at all when the log is off.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memset

from fastgate.dataplane.balance.judge cimport note_failure
from fastgate.dataplane.base.atomics cimport fg_bump, fg_bump32
from fastgate.dataplane.base.faults cimport (
    FAULT_AMBIGUOUS_PATH, FAULT_NONE, fault_info,
)
from fastgate.dataplane.base.memory cimport bytes_append
from fastgate.dataplane.base.system cimport CLOCK_REALTIME, clock_gettime, timespec
from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.http.client cimport client_address
from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport (
    H_AUTHORIZATION, H_REFERER, H_USER_AGENT, Field, Head,
)
from fastgate.dataplane.telemetry.accesslog cimport (
    LOG_COMBINED_PLUS, LOG_JSON, LOG_OFF, LogRecord, log_line,
)
from fastgate.dataplane.telemetry.clock cimport clock_tick

cdef enum:
    MAX_STASHED = 4096          # of one value: a longer one is cut in the log
    MAX_USER = 256
    MAX_REFUSED = 256           # of a line or a value that is no part of a request


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
    if x.client.peer.trusted:
        n = client_address(
            h, w.gateway.trusted_proxies, w.gateway.n_trusted_proxies,
            x.client.peer.text, x.client.peer.len, client, sizeof(client),
        )
        x.stash.client_len = keep(x, client, n)
    else:
        x.stash.client_len = keep(x, x.client.peer.text, x.client.peer.len)
    if w.log.format == LOG_JSON:
        x.stash.host_len = keep(x, h.host, h.host_len)


cdef size_t next_line(const char *at, size_t n, const char **end) noexcept nogil:
    """Bytes of the line at `at`, and where the next one begins."""
    cdef const char *newline = <const char *>memchr(at, c'\n', n)
    cdef size_t length = n if newline is NULL else newline - at
    end[0] = at + n if newline is NULL else newline + 1
    if length and at[length - 1] == c'\r':
        length -= 1
    return length


cdef const char *find_field(
    const char *at, size_t n, const char *name, size_t name_len, size_t *value_len
) noexcept nogil:
    """The value of a field in the raw lines at[0:n]; NULL: it is not there."""
    cdef const char *end = at + n
    cdef const char *following
    cdef size_t length
    while at < end:
        length = next_line(at, end - at, &following)
        if (
            length > name_len and at[name_len] == c':'
            and same_name(at, name, name_len)
        ):
            at += name_len + 1
            length -= name_len + 1
            while length and (at[0] == c' ' or at[0] == c'\t'):
                at += 1
                length -= 1
            value_len[0] = length
            return at
        at = following
    return NULL


cdef void record_refused(Worker *w, Exchange *x, const Head *h) noexcept nogil:
    """Copy what was sent of a refused head: its line, cut, and who sent it.

    The bytes are as they came; nothing about them is known to be sound.
    """
    cdef const char *end = h.start + h.sent_len
    cdef const char *line = h.start
    cdef const char *following
    cdef const char *agent
    cdef size_t n = 0
    cdef size_t agent_len = 0
    if w.log.format == LOG_OFF:
        return
    while line < end and (line[0] == c'\r' or line[0] == c'\n'):
        line += 1
    if line < end:
        n = next_line(line, end - line, &following)
        agent = find_field(
            following, end - following, b"user-agent", 10, &agent_len
        )
        x.stash.line_len = keep(x, line, min(n, <size_t>MAX_REFUSED))
        x.stash.has_agent = agent is not NULL
        if agent is not NULL:
            x.stash.agent_len = keep(x, agent, min(agent_len, <size_t>MAX_REFUSED))
    x.stash.client_len = keep(x, x.client.peer.text, x.client.peer.len)


cdef void record_id(Worker *w, Exchange *x) noexcept nogil:
    """Copy the X-Request-ID that goes upstream, if any: called last."""
    cdef const char *id
    cdef size_t n = 0
    if w.log.format != LOG_JSON and w.log.format != LOG_COMBINED_PLUS:
        return
    id = find_field(x.head.data, x.head.end, b"x-request-id", 12, &n)
    if id is not NULL:
        x.stash.id_len = keep(x, id, n)


cdef void record_failure(Worker *w, Exchange *x, int fault) noexcept nogil:
    """Tell the error log how the leased endpoint failed, and at which request.

    The request's line is as it was sent: it is kept with a log or without.
    """
    cdef const char *following
    note_failure(
        w, &x.attempt, fault, x.rule, x.rule_at,
        x.head.data, <uint32_t>next_line(x.head.data, x.head.end, &following),
    )
    # The next endpoint may fail in another way.
    x.rule = NULL


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
    cdef timespec now
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
    if x.attempt.upstream >= 0:
        r.upstream = w.upstream_plans[x.attempt.upstream].name
    if x.attempt.last_endpoint >= 0:
        r.endpoint = w.endpoints[x.attempt.last_endpoint].address
    reason = fault_info(x.fault).reason
    r.reason.at = reason
    while reason[r.reason.len]:
        r.reason.len += 1
    r.status = x.status
    if x.status == 0 and x.fault != FAULT_NONE:
        r.status = fault_info(x.fault).status
    r.retries = x.attempt.retries
    r.bytes_in = x.request_bytes
    r.bytes_out = x.response_bytes
    r.total_us = w.now_us - x.started_us
    r.upstream_us = x.head_us
    if w.log.format == LOG_JSON:
        clock_gettime(CLOCK_REALTIME, &now)
        clock_tick(&w.clock, now.tv_sec)
        r.time_ms = <int>(now.tv_nsec // 1000000)
    log_line(&w.log, &w.clock, &r)
