"""Connections to endpoints, and the answers that come over them. Runs in: worker.

An Upstream is connecting, busy with one exchange, or idle in its pool. While
busy, what it reads is first a response head (perhaps after interim ones), then a
body whose end is known by count, by chunks or by the end of the connection
(RFC 9112 section 6.3). Anything that arrives outside that, ends the connection.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t

from fastgate.dataplane.base.atomics cimport fg_bump32
from fastgate.dataplane.base.faults cimport (
    FAULT_CONNECT,
    FAULT_LOCAL_CONNECT,
    FAULT_NONE,
    FAULT_OVERLOAD,
    FAULT_UPSTREAM_BUSY,
    FAULT_UPSTREAM_CUT,
    FAULT_UPSTREAM_RESET,
)
from fastgate.dataplane.base.memory cimport bytes_len, slab_give, slab_take
from fastgate.dataplane.base.system cimport (
    AF_UNIX,
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    EINPROGRESS,
    EMFILE,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENOSPC,
    EPERM,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDHUP,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_PEEK,
    SO_ERROR,
    SO_KEEPALIVE,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    close,
    connect,
    errno,
    getsockopt,
    recv,
    setsockopt,
    sockaddr,
    socket,
    socklen_t,
)
from fastgate.dataplane.base.wheel cimport timer_set
from fastgate.dataplane.conn.conn cimport (
    FIN_READ,
    FIN_SEEN,
    KIND_UPSTREAM,
    LIFE_BUSY,
    LIFE_CONNECTING,
    LIFE_IDLE,
    LIFE_LEAVING,
    LEAVE_LOOK_MS,
    READS_PER_TURN,
    Conn,
    Exchange,
    Pool,
    SideOps,
    Upstream,
    Worker,
    conn_close,
    conn_end,
    conn_flush,
    conn_has_left,
    conn_leave,
    conn_open,
    conn_queue,
    conn_recv,
    conn_send,
    conn_write,
)
from fastgate.dataplane.conn.steps cimport (
    STEP_FORWARD, STEP_RELAY, STEP_TUNNEL, step_info,
)
from fastgate.dataplane.h1.chunked cimport chunk_rule
from fastgate.dataplane.h1.pool cimport (
    pool_count, pool_oldest, pool_put, pool_remove, pool_take,
)
from fastgate.dataplane.h1.reader cimport (
    FOUND_BODY, FOUND_FAULT, FOUND_HEAD, Reading, reader_drop, reader_expect,
    reader_init, reader_next, reader_recall,
)
from fastgate.dataplane.h1.write cimport write_chunk
from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport (
    BODY_CHUNKED, BODY_COUNTED, BODY_NONE, BODY_RAW, H_KEEP_ALIVE, Field,
)
from fastgate.dataplane.http.outgoing cimport Framing
from fastgate.dataplane.plan.upstream cimport EndpointPlan, UpstreamPlan
from fastgate.dataplane.shared.slots cimport count_connection

cdef enum:
    LONGEST_KEEP_S = 100000     # more than a day: the setting is less


# --- opening and closing ---------------------------------------------------

cdef int upstream_open(
    Worker *w, Exchange *x, int endpoint, Upstream **opened
) noexcept nogil:
    """A connection to `endpoint` for `x`: LIFE_BUSY when it can be used at once.

    opened   set when FAULT_NONE is returned
    returns  a Fault that says whose it is; x.attempt.os_error is then the errno,
             0 if no system call was made

    A request that could not be sent again if a pooled connection is found dead is
    worth a system call that asks the kernel first.
    """
    cdef bint check = not (
        x.idempotent and x.request_kind == BODY_NONE and not x.wants_tunnel
    )
    cdef Pool *pool = &w.pools[endpoint]
    cdef Upstream *u
    if (
        x.attempt.replayed and pool.oldest is not NULL
        and pool.most_open and pool.open >= pool.most_open
    ):
        # A replay wants a new connection: an idle one makes room for it.
        upstream_close(w, pool.oldest, False)
    while not x.attempt.replayed:
        u = pool_take(w, endpoint)
        if u is NULL:
            break
        if not check or stands(u):
            opened[0] = u
            return FAULT_NONE
        upstream_close(w, u, False)
    return dial(w, x, endpoint, opened)


cdef bint stands(const Upstream *u) noexcept nogil:
    """Neither its FIN nor an answer that nobody asked for has come."""
    cdef char peeked
    return (
        recv(u.conn.fd, &peeked, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN
    )


cdef int dial(
    Worker *w, Exchange *x, int endpoint, Upstream **opened
) noexcept nogil:
    cdef const EndpointPlan *plan = &w.endpoint_plans[endpoint]
    cdef int one = 1
    cdef int fd
    cdef int family = plan.socket_address.ss_family
    cdef bint pending = False
    cdef Upstream *u
    x.attempt.os_error = 0
    if plan.socket_address_len == 0:
        # Its name stands for no address: nothing to be found there.
        return FAULT_CONNECT
    fd = open_socket(w, family)
    if fd < 0:
        return refusal(x, errno, family)
    if family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    if connect(fd, <const sockaddr *>&plan.socket_address, plan.socket_address_len) < 0:
        if errno != EINPROGRESS:
            x.attempt.os_error = errno
            close(fd)
            return refusal(x, x.attempt.os_error, family)
        pending = True
    u = <Upstream *>slab_take(&w.upstreams)
    if u is NULL:
        close(fd)
        return refusal(x, ENOMEM, family)
    if conn_open(w, &u.conn, fd, KIND_UPSTREAM, True) < 0:
        x.attempt.os_error = errno
        close(fd)
        u.conn.fd = -1
        slab_give(&w.upstreams, u)
        return refusal(x, x.attempt.os_error, family)
    u.exchange = NULL
    u.pool_next = NULL
    u.pool_prev = NULL
    u.endpoint = endpoint
    u.life = LIFE_CONNECTING if pending else LIFE_BUSY
    u.reused = 0
    u.keep_ms = -1
    reader_init(&u.reader, True, plan_of(w, u).lenient)
    pool_count(w, endpoint, 1)
    fg_bump32(&w.row.upstream_connections, 1)
    count_connection(w.shared, w.slot, endpoint)
    opened[0] = u
    return FAULT_NONE


cdef int open_socket(Worker *w, int family) noexcept nogil:
    """A socket, for which an idle connection to anywhere gives its descriptor."""
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0 and (errno == EMFILE or errno == ENFILE) and upstream_retire(w):
        fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    return fd


cdef bint upstream_retire(Worker *w) noexcept nogil:
    """Close an idle connection, to anywhere, for its descriptor. False: none is."""
    cdef Upstream *idle = pool_oldest(w)
    if idle is NULL:
        return False
    upstream_close(w, idle, False)
    return True


cdef int refusal(Exchange *x, int error, int family) noexcept nogil:
    """The Fault of a connection that could not be opened; notes its errno."""
    x.attempt.os_error = error
    return opening_fault(error, family == AF_UNIX)


cdef int opening_fault(int error, bint is_unix) noexcept nogil:
    """Whose doing it is that socket(2), connect(2) or epoll_ctl(2) failed.

    Ours are what this machine has run out of or forbids: for want of descriptors
    or memory no other endpoint would fare better, while ports run out per
    destination, and a firewall's rule need not cover the next one. A Unix socket
    whose backlog is full says EAGAIN at once where TCP would be silent: the
    endpoint is busy (unix(7)).
    """
    if (
        error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM
        or error == ENOSPC
    ):
        return FAULT_OVERLOAD
    if error == EAGAIN:
        return FAULT_UPSTREAM_BUSY if is_unix else FAULT_LOCAL_CONNECT
    if (
        error == EADDRNOTAVAIL or error == EADDRINUSE or error == EPERM
        or error == EAFNOSUPPORT or (error == EACCES and not is_unix)
    ):
        return FAULT_LOCAL_CONNECT
    return FAULT_CONNECT


cdef void upstream_bind(Worker *w, Upstream *u, Exchange *x) noexcept nogil:
    """`u` serves `x` from now on."""
    u.exchange = x
    x.upstream = u
    u.answered = 0
    u.head_done = 0
    u.keep_alive = 0
    if u.life == LIFE_CONNECTING:
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).connect_timeout_ms)


cdef void upstream_close(Worker *w, Upstream *u, bint reset) noexcept nogil:
    """Close `u`, whatever it was doing. Its exchange hears nothing of it."""
    if u.life == LIFE_IDLE:
        pool_remove(w, u)
    if u.exchange is not NULL:
        u.exchange.upstream = NULL
        u.exchange = NULL
    conn_close(w, &u.conn, reset)
    reader_drop(&u.reader)
    pool_count(w, u.endpoint, -1)
    fg_bump32(&w.row.upstream_connections, -1)
    slab_give(&w.upstreams, u)


cdef void upstream_release(Worker *w, Exchange *x) noexcept nogil:
    """The exchange has its whole answer: keep the connection if it is clean."""
    cdef Upstream *u = x.upstream
    if (
        u.keep_alive
        and u.keep_ms != 0
        and x.request_done
        and not w.draining
        and not u.conn.broken
        and not u.conn.peer_ended
        and not u.conn.readable
        and bytes_len(&u.reader.kept) == 0
        and bytes_len(&u.conn.output) == 0
        and w.pools[u.endpoint].idle < plan_of(w, u).upstream_pool
    ):
        u.exchange = NULL
        x.upstream = NULL
        pool_put(w, u)
    else:
        upstream_close(w, u, False)


cdef void leave(Worker *w, Upstream *u) noexcept nogil:
    """LIFE_LEAVING: close when the endpoint has all, or takes no more."""
    cdef int group = w.endpoint_plans[u.endpoint].upstream
    if conn_has_left(w, &u.conn):
        upstream_close(w, u, True)
        w.events.upstream_room(w, group)
    else:
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + LEAVE_LOOK_MS)


cdef const UpstreamPlan *plan_of(Worker *w, Upstream *u) noexcept nogil:
    return &w.upstream_plans[w.endpoint_plans[u.endpoint].upstream]


# --- events ----------------------------------------------------------------

cdef void upstream_event(Worker *w, Upstream *u, uint32_t events) noexcept nogil:
    cdef Conn *c = &u.conn
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
            bytes_len(&c.output) == 0 and not c.broken and u.exchange is not NULL
        ):
            w.events.upstream_flushed(w, u.exchange)
            if c.item.generation != generation:
                # The last byte of a tunnel: `u` is closed.
                return
    if u.life == LIFE_LEAVING:
        if events & EPOLLERR or (events & EPOLLHUP and not c.shut):
            c.broken = 1
        leave(w, u)
    elif c.readable or c.broken:
        upstream_run(w, u)


cdef void connected(Worker *w, Upstream *u, uint32_t events) noexcept nogil:
    cdef int error = 0
    cdef socklen_t n = sizeof(error)
    cdef Exchange *x = u.exchange
    if events & (EPOLLERR | EPOLLHUP):
        if getsockopt(u.conn.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0:
            error = errno
        if error:
            w.events.upstream_fault(
                w, x,
                refusal(
                    x, error,
                    w.endpoint_plans[u.endpoint].socket_address.ss_family,
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
    w.events.upstream_ready(w, x)
    if u.conn.readable:
        conn_queue(w, &u.conn)


cdef void upstream_timer(Worker *w, Upstream *u) noexcept nogil:
    cdef Exchange *x = u.exchange
    if u.life == LIFE_LEAVING:
        leave(w, u)
    elif u.life == LIFE_IDLE or x is NULL:
        upstream_close(w, u, False)
    elif (
        not x.request_done
        and (x.step == STEP_FORWARD or x.step == STEP_RELAY)
        and bytes_len(&u.conn.output) == 0
    ):
        # The endpoint has all there is of the request: it may be waiting for the
        # rest, and that is the client's to send, in body_timeout.
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).upstream_timeout_ms)
    elif u.head_done and x.client_ops.is_full(w, x):
        # It is us who do not read: the client's own timer decides.
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).between_timeout_ms)
    else:
        w.events.upstream_fault(w, x, step_info(x.step).late)


# --- reading ---------------------------------------------------------------

cdef void upstream_run(Worker *w, Upstream *u) noexcept nogil:
    """Read and pass on while there is something and the client takes it."""
    cdef Conn *c = &u.conn
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
    if u.life == LIFE_IDLE or u.exchange is NULL:
        # Closed by the other end, or speaking without being asked.
        upstream_close(w, u, False)
        return
    bytes.n = 0
    while c.item.generation == generation and u.exchange is not NULL:
        found = reader_next(
            &u.reader, &bytes, &w.response, &w.gateway.response_head
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
        elif u.head_done and u.exchange.client_ops.is_full(w, u.exchange):
            return
        elif turns >= READS_PER_TURN:
            conn_queue(w, c)
            return
        else:
            turns += 1
            if not read_more(w, u, &bytes):
                return


cdef inline bint read_more(Worker *w, Upstream *u, Reading *bytes) noexcept nogil:
    """What was kept of a head and what the socket has, into scratch. False: nothing."""
    cdef Conn *c = &u.conn
    cdef size_t held
    cdef ssize_t n
    if not c.readable:
        return False
    held = reader_recall(&u.reader, w.scratch)
    n = conn_recv(w, c, w.scratch + held, w.scratch_bytes - held)
    if n > 0:
        u.answered = 1
        bytes.at = w.scratch
        bytes.n = held + <size_t>n
        return True
    if c.peer_ended == FIN_READ or c.broken:
        lost(w, u)
    return False


cdef void lost(Worker *w, Upstream *u) noexcept nogil:
    """The connection ended: perhaps that is the end of the answer."""
    cdef Exchange *x = u.exchange
    x.attempt.os_error = u.conn.os_error
    w.response.rule = NULL
    if not u.head_done:
        w.events.upstream_fault(w, x, FAULT_UPSTREAM_RESET)
    elif u.reader.body_kind == BODY_RAW and not u.conn.broken:
        u.keep_alive = 0
        u.conn.readable = 0
        w.events.response_end(w, x)
    else:
        w.events.upstream_fault(w, x, FAULT_UPSTREAM_CUT)


cdef void body_piece(Worker *w, Upstream *u, const Reading *bytes) noexcept nogil:
    """A piece of the answer's body, or its end, or both."""
    cdef Exchange *x = u.exchange
    cdef uint32_t generation = u.conn.item.generation
    if bytes.body_len:
        timer_set(
            &w.wheel, &u.conn.timer, w.now_ms + (
                plan_of(w, u).tunnel_timeout_ms if x.step == STEP_TUNNEL
                else plan_of(w, u).between_timeout_ms
            ),
        )
        w.events.response_body(w, x, bytes.body, bytes.body_len)
        if u.conn.item.generation != generation or u.exchange is not x:
            return
    if bytes.is_end:
        if bytes.n:
            # More than was announced: not ours, and never anybody's answer.
            u.keep_alive = 0
        w.events.response_end(w, x)


cdef void bad_piece(Worker *w, Upstream *u, int fault) noexcept nogil:
    if u.head_done:
        w.response.rule = chunk_rule(&u.reader.parser)
        fault = FAULT_UPSTREAM_CUT
    w.events.upstream_fault(w, u.exchange, fault)


cdef void head_complete(Worker *w, Upstream *u) noexcept nogil:
    """w.response is a whole head: final, or interim and to be followed by one."""
    cdef Exchange *x = u.exchange
    cdef Conn *c = &u.conn
    cdef int status = w.response.status
    if status < 200 and status != 101:
        w.events.response_head(w, x)
        return
    u.head_done = 1
    u.keep_alive = w.response.keep_alive
    if w.response.field_of[<int>H_KEEP_ALIVE] >= 0:
        u.keep_ms = keep_time(
            &w.response.fields[w.response.field_of[<int>H_KEEP_ALIVE]]
        )
    if x.is_head or status == 204 or status == 304:
        # None, whatever its fields announce: it ends at once.
        reader_expect(&u.reader, BODY_COUNTED, 0)
    elif w.response.chunked and status != 101:
        reader_expect(&u.reader, BODY_CHUNKED, 0)
    elif w.response.content_length >= 0 and status != 101:
        reader_expect(&u.reader, BODY_COUNTED, w.response.content_length)
    else:
        reader_expect(&u.reader, BODY_RAW, 0)
    timer_set(&w.wheel, &c.timer, w.now_ms + plan_of(w, u).between_timeout_ms)
    w.events.response_head(w, x)


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

cdef int send_head(Worker *w, Exchange *x, const Framing *framing) noexcept nogil:
    """The request head was written when the exchange began, to be sent again."""
    if x.request_done and bytes_len(&x.body) == 0:
        conn_send(w, &x.upstream.conn, x.head.data, bytes_len(&x.head))
    else:
        # What of the body is here already leaves in the same segment.
        conn_write(w, &x.upstream.conn, x.head.data, bytes_len(&x.head))
    timer_set(
        &w.wheel, &x.upstream.conn.timer,
        w.now_ms + plan_of(w, x.upstream).upstream_timeout_ms,
    )
    return FAULT_NONE


cdef void send_body(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil:
    cdef Upstream *u = x.upstream
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
    if x.step == STEP_TUNNEL:
        conn_end(w, &x.upstream.conn)
    elif x.request_kind == BODY_CHUNKED:
        conn_write(w, &x.upstream.conn, b"0\r\n\r\n", 5)
    if x.step == STEP_FORWARD:
        # The time to answer counts from the end of the request.
        timer_set(
            &w.wheel, &x.upstream.conn.timer,
            w.now_ms + plan_of(w, x.upstream).upstream_timeout_ms,
        )


cdef void cut(Worker *w, Exchange *x) noexcept nogil:
    cdef Upstream *u = x.upstream
    if u is not NULL:
        u.exchange = NULL
        x.upstream = NULL
        u.life = LIFE_LEAVING
        reader_drop(&u.reader)
        conn_leave(w, &u.conn)
        leave(w, u)


cdef void reset(Worker *w, Exchange *x) noexcept nogil:
    if x.upstream is not NULL:
        upstream_close(w, x.upstream, True)


cdef void resume(Worker *w, Exchange *x) noexcept nogil:
    if x.upstream is not NULL:
        conn_queue(w, &x.upstream.conn)


cdef bint is_full(Worker *w, Exchange *x) noexcept nogil:
    return (
        x.upstream is not NULL
        and bytes_len(&x.upstream.conn.output) >= w.gateway.buffer_response_bytes
    )


cdef SideOps SIDE
SIDE.head = send_head
SIDE.body = send_body
SIDE.end = send_end
SIDE.cut = cut
SIDE.reset = reset
SIDE.resume = resume
SIDE.is_full = is_full


cdef const SideOps *upstream_side() noexcept nogil:
    return &SIDE
