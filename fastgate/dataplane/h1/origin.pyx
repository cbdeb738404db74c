"""Connections to endpoints, and the answers that come over them. Runs in: worker.

An H1Origin is connecting, busy with one exchange, or idle in its pool. While
busy, what it reads is first a response head (perhaps after interim ones), then a
body whose end is known by count, by chunks or by the end of the connection
(RFC 9112 section 6.3). Anything that arrives outside that, ends the connection.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t

from fastgate.dataplane.base.faults cimport (
    FAULT_HEAD_TOO_LARGE,
    FAULT_INTERNAL,
    FAULT_NONE,
    FAULT_UPSTREAM_CUT,
    FAULT_UPSTREAM_RESET,
)
from fastgate.dataplane.base.memory cimport bytes_len, bytes_reserve
from fastgate.dataplane.base.system cimport (
    EAGAIN,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDHUP,
    MSG_DONTWAIT,
    MSG_PEEK,
    SO_ERROR,
    SOL_SOCKET,
    errno,
    getsockopt,
    recv,
    socklen_t,
)
from fastgate.dataplane.base.wheel cimport timer_set
from fastgate.dataplane.conn.conn cimport (
    DRAIN_HARD,
    FIN_READ,
    FIN_SEEN,
    LEAVE_LOOK_MS,
    Conn,
    Owner,
    Worker,
    conn_end,
    conn_flush,
    conn_has_left,
    conn_leave,
    conn_queue,
    conn_recv,
    conn_send,
    conn_write,
)
from fastgate.dataplane.exchange.exchange cimport (
    origin_fault,
    origin_flushed,
    origin_ready,
    response_body,
    response_end,
    response_head,
    wake_queue,
)
from fastgate.dataplane.exchange.sides cimport (
    QUEUED_FOR_EVER, Exchange, OriginOps, is_full,
)
from fastgate.dataplane.exchange.steps cimport (
    STEP_FORWARD, STEP_RELAY, STEP_TUNNEL, step_info,
)
from fastgate.dataplane.h1.chunked cimport chunk_rule
from fastgate.dataplane.h1.connections cimport (
    LIFE_BUSY,
    LIFE_CONNECTING,
    LIFE_IDLE,
    LIFE_LEAVING,
    READS_PER_TURN,
    REQUEST_HEAD_BYTES,
    H1Origin,
    Pool,
    h1,
    origin_of,
)
from fastgate.dataplane.h1.dial cimport bind, dial, origin_close, plan_of, refusal
from fastgate.dataplane.h1.pool cimport pool_put, pool_take, pools_follow
from fastgate.dataplane.h1.reader cimport (
    FOUND_BODY,
    FOUND_FAULT,
    FOUND_HEAD,
    Reading,
    reader_drop,
    reader_expect,
    reader_next,
    reader_recall,
)
from fastgate.dataplane.h1.write cimport write_chunk, write_request
from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport (
    BODY_CHUNKED, BODY_COUNTED, BODY_NONE, BODY_RAW, H_KEEP_ALIVE, Field, Head,
)
from fastgate.dataplane.http.outgoing cimport RequestFacts, RequestShape

cdef enum:
    LONGEST_KEEP_S = 100000     # more than a day: the setting is less
    HEAD_USUAL_BYTES = 2048     # room for the request head as it goes upstream


# --- opening and closing ---------------------------------------------------

cdef int origin_open(Worker *w, Exchange *x, bint *ready) noexcept nogil:
    """Become x.origin: a connection from the pool, or a new one.

    A request that could not be sent again if a pooled connection is found dead is
    worth a system call that asks the kernel first.
    """
    cdef bint check = not (
        x.idempotent and x.request_kind == BODY_NONE and not x.wants_tunnel
    )
    cdef int endpoint = x.attempt.endpoint
    cdef Pool *pool = &h1(w).pools[endpoint]
    cdef H1Origin *u
    if (
        x.attempt.replayed and pool.oldest is not NULL
        and pool.most_open and pool.open >= pool.most_open
    ):
        # A replay wants a new connection: an idle one makes room for it.
        origin_close(w, pool.oldest, False)
    ready[0] = True
    while not x.attempt.replayed:
        u = pool_take(w, endpoint)
        if u is NULL:
            break
        if not check or stands(u):
            bind(u, x)
            return FAULT_NONE
        origin_close(w, u, False)
    return dial(w, x, endpoint, &OWNER, &OPS, ready)


cdef bint stands(const H1Origin *u) noexcept nogil:
    """Neither its FIN nor an answer that nobody asked for has come."""
    cdef char peeked
    return (
        recv(u.conn.fd, &peeked, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN
    )


cdef void leave(Worker *w, H1Origin *u) noexcept nogil:
    """LIFE_LEAVING: close when the endpoint has all, or takes no more."""
    cdef int upstream = w.endpoints[u.endpoint].upstream
    if conn_has_left(w, &u.conn):
        origin_close(w, u, True)
        wake_queue(w, upstream)
    else:
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + LEAVE_LOOK_MS)


# --- events ----------------------------------------------------------------

cdef void origin_event(Worker *w, Conn *c, uint32_t events) noexcept nogil:
    cdef H1Origin *u = <H1Origin *>c
    cdef uint32_t generation = c.item.generation
    if u.life == LIFE_CONNECTING:
        connected(w, u, events)
        return
    if events & EPOLLRDHUP and not c.peer_ended:
        c.peer_ended = FIN_SEEN
    if events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP):
        c.readable = 1
        if events & EPOLLPRI:
            c.urgent = 1
    if events & EPOLLOUT and bytes_len(&c.output):
        conn_flush(w, c)
        if (
            bytes_len(&c.output) == 0 and not c.broken and u.origin.exchange is not NULL
        ):
            origin_flushed(w, u.origin.exchange)
            if c.item.generation != generation:
                # The last byte of a tunnel: `u` is closed.
                return
    if u.life == LIFE_LEAVING:
        if events & EPOLLERR or (events & EPOLLHUP and not c.shut):
            c.broken = 1
        leave(w, u)
    elif c.readable or c.broken:
        origin_run(w, c)


cdef void connected(Worker *w, H1Origin *u, uint32_t events) noexcept nogil:
    cdef int error = 0
    cdef socklen_t n = sizeof(error)
    cdef Exchange *x = u.origin.exchange
    if events & (EPOLLERR | EPOLLHUP):
        if getsockopt(u.conn.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0:
            error = errno
        if error:
            origin_fault(
                w, x,
                refusal(
                    x, error,
                    w.endpoints[u.endpoint].socket_address.ss_family,
                ),
            )
            return
    if not events & EPOLLOUT:
        return
    u.life = LIFE_BUSY
    if events & EPOLLIN:
        u.conn.readable = 1
    if events & EPOLLRDHUP:
        u.conn.peer_ended = FIN_SEEN
        u.conn.readable = 1
    origin_ready(w, x)
    if u.conn.readable:
        conn_queue(w, &u.conn)


cdef void origin_timer(Worker *w, Conn *c) noexcept nogil:
    cdef H1Origin *u = <H1Origin *>c
    cdef Exchange *x = u.origin.exchange
    if u.life == LIFE_LEAVING:
        leave(w, u)
    elif u.life == LIFE_IDLE or x is NULL:
        origin_close(w, u, False)
    elif (
        not x.request_done
        and (x.step == STEP_FORWARD or x.step == STEP_RELAY)
        and bytes_len(&u.conn.output) == 0
    ):
        # The endpoint has all there is of the request: it may be waiting for the
        # rest, and that is the client's to send, in body_timeout.
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).upstream_timeout_ms)
    elif u.head_done and is_full(w, x.client.ops.queued(w, x)):
        # It is us who do not read: the client's own timer decides.
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).between_timeout_ms)
    else:
        origin_fault(w, x, step_info(x.step).late)


# --- reading ---------------------------------------------------------------

cdef void origin_run(Worker *w, Conn *c) noexcept nogil:
    """Read and pass on while there is something and the client takes it."""
    cdef H1Origin *u = <H1Origin *>c
    cdef uint32_t generation = c.item.generation
    cdef int turns = 0
    cdef int found
    cdef Reading bytes
    if u.life == LIFE_CONNECTING:
        return
    if u.life == LIFE_LEAVING:
        leave(w, u)
        return
    if u.life == LIFE_IDLE and not (c.readable or c.broken):
        # It came into its pool while it stood in the run queue.
        return
    if u.life == LIFE_IDLE or u.origin.exchange is NULL:
        # Closed by the other end, or speaking without being asked.
        origin_close(w, u, False)
        return
    bytes.n = 0
    while c.item.generation == generation and u.origin.exchange is not NULL:
        found = reader_next(
            &u.reader, &bytes, &h1(w).response, &w.gateway.response_head
        )
        if found == FOUND_HEAD:
            head_complete(w, u)
        elif found == FOUND_BODY:
            body_piece(w, u, &bytes)
        elif found == FOUND_FAULT:
            bad_piece(w, u, bytes.fault)
            return
        elif c.broken and not c.readable:
            lost(w, u)
            return
        elif u.head_done and is_full(
            w, u.origin.exchange.client.ops.queued(w, u.origin.exchange)
        ):
            return
        elif turns >= READS_PER_TURN:
            conn_queue(w, c)
            return
        else:
            turns += 1
            if not read_more(w, u, &bytes):
                return


cdef inline bint read_more(Worker *w, H1Origin *u, Reading *bytes) noexcept nogil:
    """What was kept of a head and what the socket has, into scratch. False: nothing."""
    cdef Conn *c = &u.conn
    cdef size_t held
    cdef ssize_t n
    if not c.readable:
        return False
    held = reader_recall(&u.reader, w.scratch)
    n = conn_recv(w, c, w.scratch + held, w.scratch_bytes - held)
    if n > 0:
        u.origin.answered = 1
        bytes.at = w.scratch
        bytes.n = held + <size_t>n
        return True
    if c.peer_ended == FIN_READ or c.broken:
        lost(w, u)
    return False


cdef void lost(Worker *w, H1Origin *u) noexcept nogil:
    """The connection ended: perhaps that is the end of the answer."""
    cdef Exchange *x = u.origin.exchange
    x.attempt.os_error = u.conn.os_error
    x.rule = NULL
    if not u.head_done:
        origin_fault(w, x, FAULT_UPSTREAM_RESET)
    elif u.reader.body_kind == BODY_RAW and not u.conn.broken:
        u.keep_alive = 0
        u.conn.readable = 0
        response_end(w, x)
    else:
        origin_fault(w, x, FAULT_UPSTREAM_CUT)


cdef void body_piece(Worker *w, H1Origin *u, const Reading *bytes) noexcept nogil:
    """A piece of the answer's body, or its end, or both."""
    cdef Exchange *x = u.origin.exchange
    cdef uint32_t generation = u.conn.item.generation
    if bytes.body_len:
        timer_set(
            &w.wheel, &u.conn.timer, w.now_ms + (
                plan_of(w, u).tunnel_timeout_ms if x.step == STEP_TUNNEL
                else plan_of(w, u).between_timeout_ms
            ),
        )
        response_body(w, x, bytes.body, bytes.body_len)
        if u.conn.item.generation != generation or u.origin.exchange is not x:
            return
    if bytes.is_end:
        if bytes.n:
            # More than was announced: not ours, and never anybody's answer.
            u.keep_alive = 0
        response_end(w, x)


cdef void bad_piece(Worker *w, H1Origin *u, int fault) noexcept nogil:
    cdef Exchange *x = u.origin.exchange
    if u.head_done:
        x.rule = chunk_rule(&u.reader.parser)
        fault = FAULT_UPSTREAM_CUT
    else:
        x.rule = h1(w).response.rule
        x.rule_at = h1(w).response.rule_at
    origin_fault(w, x, fault)


cdef void head_complete(Worker *w, H1Origin *u) noexcept nogil:
    """h1(w).response is a whole head: final, or interim and to be followed by one."""
    cdef Exchange *x = u.origin.exchange
    cdef Conn *c = &u.conn
    cdef int status = h1(w).response.status
    if status < 200 and status != 101:
        response_head(w, x, &h1(w).response)
        return
    u.head_done = 1
    u.keep_alive = h1(w).response.keep_alive
    if h1(w).response.field_of[<int>H_KEEP_ALIVE] >= 0:
        u.keep_ms = keep_time(
            &h1(w).response.fields[h1(w).response.field_of[<int>H_KEEP_ALIVE]]
        )
    if status == 101:
        reader_expect(&u.reader, BODY_RAW, 0)
    elif x.is_head or status == 204 or status == 304:
        # None, whatever its fields announce: it ends at once.
        reader_expect(&u.reader, BODY_COUNTED, 0)
    elif h1(w).response.chunked:
        reader_expect(&u.reader, BODY_CHUNKED, 0)
    elif h1(w).response.content_length >= 0:
        reader_expect(&u.reader, BODY_COUNTED, h1(w).response.content_length)
    else:
        reader_expect(&u.reader, BODY_RAW, 0)
    timer_set(&w.wheel, &c.timer, w.now_ms + plan_of(w, u).between_timeout_ms)
    response_head(w, x, &h1(w).response)


cdef int64_t keep_time(const Field *f) noexcept nogil:
    """How long a connection may be kept, by `Keep-Alive: timeout=N`; -1: not said.

    The endpoint closes after N seconds, and a request that is then on its way is
    lost: we let go a second before, or at half time if that is all there is. The
    field is RFC 2068's (section 19.7.1.1), as the draft
    draft-thomson-hybi-http-timeout-03 and all who send it read it.
    """
    cdef uint32_t i = 0
    cdef int64_t seconds
    while i < f.value_len:
        while i < f.value_len and (f.value[i] == b" " or f.value[i] == b"\t"):
            i += 1
        if f.value_len - i > 8 and same_name(f.value + i, b"timeout=", 8):
            i += 8
            if not b"0" <= f.value[i] <= b"9":
                return -1
            seconds = 0
            while i < f.value_len and b"0" <= f.value[i] <= b"9":
                if seconds < LONGEST_KEEP_S:
                    seconds = seconds * 10 + (f.value[i] - <char>b"0")
                i += 1
            return seconds * 1000 - min(<int64_t>1000, seconds * 500)
        while i < f.value_len and f.value[i] != b",":
            i += 1
        i += 1
    return -1


# --- what the exchange asks of this side -----------------------------------

cdef int pack(
    Worker *w, Exchange *x, const Head *h, const RequestFacts *facts
) noexcept nogil:
    """Most heads fit a small buffer; the room for any is made when one does not."""
    cdef const RequestShape *shape = &w.routes[x.route].request
    cdef ssize_t n
    if not bytes_reserve(&x.head, HEAD_USUAL_BYTES):
        return FAULT_INTERNAL
    n = write_request(x.head.data, x.head.size, h, shape, facts)
    if n == -FAULT_HEAD_TOO_LARGE and bytes_reserve(&x.head, REQUEST_HEAD_BYTES):
        n = write_request(x.head.data, x.head.size, h, shape, facts)
    if n < 0:
        return <int>-n
    x.head.end = <uint32_t>n
    return FAULT_NONE


cdef void send_head(Worker *w, Exchange *x) noexcept nogil:
    cdef H1Origin *u = origin_of(x)
    if x.request_done and bytes_len(&x.body) == 0:
        conn_send(w, &u.conn, x.head.data, bytes_len(&x.head))
    else:
        # What of the body is here already leaves in the same segment.
        conn_write(w, &u.conn, x.head.data, bytes_len(&x.head))
    timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).upstream_timeout_ms)


cdef void send_body(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil:
    cdef H1Origin *u = origin_of(x)
    if x.request_kind == BODY_CHUNKED:
        write_chunk(w, &u.conn, data, n)
    else:
        conn_write(w, &u.conn, data, n)
    if x.step == STEP_TUNNEL:
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).tunnel_timeout_ms)
    elif not u.head_done:
        # As long as the request goes on, the endpoint owes no answer.
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).upstream_timeout_ms)


cdef void send_end(Worker *w, Exchange *x) noexcept nogil:
    cdef H1Origin *u = origin_of(x)
    if x.step == STEP_TUNNEL:
        conn_end(w, &u.conn)
    elif x.request_kind == BODY_CHUNKED:
        conn_write(w, &u.conn, b"0\r\n\r\n", 5)
    if x.step == STEP_FORWARD:
        # The time to answer counts from the end of the request.
        timer_set(
            &w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).upstream_timeout_ms
        )


cdef void tunnel(Worker *w, Exchange *x) noexcept nogil:
    cdef H1Origin *u = origin_of(x)
    timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).tunnel_timeout_ms)


cdef void cut(Worker *w, Exchange *x) noexcept nogil:
    cdef H1Origin *u = origin_of(x)
    u.origin.exchange = NULL
    x.origin = NULL
    u.life = LIFE_LEAVING
    reader_drop(&u.reader)
    conn_leave(w, &u.conn)
    leave(w, u)


cdef void reset(Worker *w, Exchange *x) noexcept nogil:
    origin_close(w, origin_of(x), True)


cdef void resume(Worker *w, Exchange *x) noexcept nogil:
    conn_queue(w, &origin_of(x).conn)


cdef size_t queued(Worker *w, Exchange *x) noexcept nogil:
    cdef const Conn *c = &origin_of(x).conn
    return QUEUED_FOR_EVER if c.broken else bytes_len(&c.output)


cdef void release(Worker *w, Exchange *x) noexcept nogil:
    """Keep the connection if it is clean, and if there is room in the pool."""
    cdef H1Origin *u = origin_of(x)
    if (
        u.keep_alive
        and u.keep_ms != 0
        and x.request_done
        and w.draining != DRAIN_HARD
        and not u.conn.broken
        and not u.conn.shut
        and not u.conn.peer_ended
        and not u.conn.readable
        and bytes_len(&u.reader.kept) == 0
        and bytes_len(&u.conn.output) == 0
        and h1(w).pools[u.endpoint].idle < h1(w).pools[u.endpoint].most_idle
    ):
        u.origin.exchange = NULL
        x.origin = NULL
        pool_put(w, u)
    else:
        origin_close(w, u, False)


cdef OriginOps OPS
OPS.pack = pack
OPS.open = origin_open
OPS.head = send_head
OPS.body = send_body
OPS.end = send_end
OPS.tunnel = tunnel
OPS.cut = cut
OPS.reset = reset
OPS.resume = resume
OPS.queued = queued
OPS.release = release


cdef const OriginOps *h1_origin_ops() noexcept:
    return &OPS


cdef void origins_follow(Worker *w) noexcept nogil:
    """The groups were made anew: no connection stays to who is in none any more."""
    cdef Pool *pool
    cdef int i
    pools_follow(w)
    for i in range(w.n_used):
        pool = &h1(w).pools[i]
        while not w.is_member[i] and pool.newest is not NULL:
            origin_close(w, pool.newest, False)


# --- what the loop asks, beside the events -----------------------------------

cdef void early_event(Worker *w, Conn *c, uint32_t events) noexcept nogil:
    """Its end, or an answer that nobody asked for: it must not become the answer to a
    request of the same batch.
    """
    if (<H1Origin *>c).life == LIFE_IDLE:
        origin_event(w, c, events)


cdef void drain(Worker *w, Conn *c) noexcept nogil:
    """It goes with its exchange, or when its pool lets it go."""


cdef void close_now(Worker *w, Conn *c) noexcept nogil:
    origin_close(w, <H1Origin *>c, False)


cdef Owner OWNER
OWNER.event = origin_event
OWNER.early = early_event
OWNER.run = origin_run
OWNER.timer = origin_timer
OWNER.drain = drain
OWNER.close = close_now
OWNER.watches_pace = False
