"""Connections of clients, and the requests that come over them. Runs in: worker.

    IDLE --a byte--> HEAD --a head--> BUSY --the exchange ends--> IDLE
      \\                                 |
       `--- a whole head in one read ---'     LINGER: our FIN is out, what the
                                              client still sends is discarded

One request at a time: what a client sends ahead is kept, or stays in the
kernel, until the exchange that is on has ended. So answers keep the order of the
requests, and a client that pipelines owns no more memory than one that does not.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgate.dataplane.base.atomics cimport fg_bump, fg_bump32
from fastgate.dataplane.base.faults cimport (
    FAULT_BODY_TIMEOUT,
    FAULT_BODY_TOO_SLOW,
    FAULT_CLIENT_ABORT,
    FAULT_DEADLINE,
    FAULT_HEADER_TIMEOUT,
    FAULT_INTERNAL,
    FAULT_NONE,
)
from fastgate.dataplane.base.memory cimport (
    GENERATION_MASK,
    Bytes,
    bytes_len,
    slab_find,
    slab_give,
    slab_take,
)
from fastgate.dataplane.base.system cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, close,
    sockaddr_storage,
)
from fastgate.dataplane.base.wheel cimport timer_idle, timer_set
from fastgate.dataplane.conn.conn cimport (
    Conn,
    Downstream,
    Exchange,
    FIN_READ,
    FIN_SEEN,
    KIND_DOWNSTREAM,
    LEAVE_LOOK_MS,
    MAX_LINGERERS,
    PHASE_BUSY,
    PHASE_HEAD,
    PHASE_IDLE,
    PHASE_LEAVING,
    PHASE_LINGER,
    READS_PER_TURN,
    RESPONSE_HEAD_BYTES,
    SideOps,
    Worker,
    conn_close,
    conn_discard,
    conn_end,
    conn_flush,
    conn_has_left,
    conn_leave,
    conn_open,
    conn_pace,
    conn_pace_at,
    conn_queue,
    conn_recv,
    conn_watch_pace,
    conn_write,
    cork_add,
    cork_push,
    cork_room,
    takes_body,
    token,
)
from fastgate.dataplane.conn.idle cimport has_news, idle_add, idle_longest, idle_remove
from fastgate.dataplane.conn.peer cimport peer_name
from fastgate.dataplane.conn.steps cimport STEP_TUNNEL, step_info
from fastgate.dataplane.h1.parser cimport is_blank_head
from fastgate.dataplane.h1.reader cimport (
    FOUND_BODY, FOUND_FAULT, FOUND_HEAD, FOUND_PARTIAL, Reading, reader_drop,
    reader_expect, reader_init, reader_keep, reader_next, reader_recall,
)
from fastgate.dataplane.h1.write cimport write_chunk, write_response
from fastgate.dataplane.http.message cimport (
    BODY_CHUNKED, BODY_COUNTED, BODY_NONE, BODY_RAW,
)
from fastgate.dataplane.http.outgoing cimport Framing

cdef enum:
    DRAIN_LINGER_MS = 1000      # the most of lingering_time in a worker that goes
    RATE_WINDOW_MS = 10000      # over which the minimum rate must be kept
    DRAIN_GRACE_MS = 500        # for a request on its way over an idle connection


# --- opening and closing ---------------------------------------------------

cdef Downstream *downstream_open(
    Worker *w, int fd, int listener, const sockaddr_storage *peer
) noexcept nogil:
    """Take over an accepted socket. NULL: no memory, `fd` is closed."""
    cdef Downstream *d = <Downstream *>slab_take(&w.downstreams)
    if d is NULL:
        close(fd)
        return NULL
    if conn_open(w, &d.conn, fd, KIND_DOWNSTREAM, False) < 0:
        close(fd)
        d.conn.fd = -1
        slab_give(&w.downstreams, d)
        return NULL
    d.exchange = NULL
    d.phase = PHASE_IDLE
    d.is_idle = 0
    d.close_after = 0
    d.goes_on = 0
    d.listener = listener
    d.requests = 0
    peer_name(w, d, peer)
    reader_init(&d.reader, False, False)
    fg_bump32(&w.row.connections, 1)
    # A client that says nothing has as long as one that is slow to say it.
    d.read_deadline_ms = w.now_ms + w.gateway.header_timeout_ms
    timer_set(&w.wheel, &d.conn.timer, d.read_deadline_ms)
    idle_add(w, d)
    return d


cdef void downstream_close(Worker *w, Downstream *d, bint reset) noexcept nogil:
    """Close at once. Its exchange, if any, hears nothing of it."""
    if d.exchange is not NULL:
        d.exchange.client = NULL
        d.exchange = NULL
    idle_remove(w, d)
    conn_close(w, &d.conn, reset)
    reader_drop(&d.reader)
    fg_bump32(&w.row.connections, -1)
    slab_give(&w.downstreams, d)


cdef bint downstream_retire(Worker *w) noexcept nogil:
    """Close the client that has been idle longest, for a newcomer's sake.

    False: there is none.
    """
    cdef Downstream *d = idle_longest(w)
    if d is NULL:
        return False
    downstream_close(w, d, False)
    fg_bump(&w.row.retired, 1)
    return True


cdef void downstream_next(Worker *w, Downstream *d) noexcept nogil:
    """Its exchange has ended, all is sent: the next request, or the end."""
    cdef Conn *c = &d.conn
    cdef bint unread = (
        d.reader.body_kind != BODY_NONE or c.readable
        or bytes_len(&d.reader.kept) != 0
    )
    cdef int64_t idle_ms
    d.exchange = NULL
    if c.broken:
        downstream_close(w, d, False)
        return
    if d.close_after:
        if w.cork_of is c:
            cork_push(w)
        if c.watches_out and c.blocked_ms == 0:
            # A close would leave what the kernel holds to the kernel.
            conn_watch_pace(w, c)
        if c.blocked_ms or (
            (unread or d.goes_on)
            and c.peer_ended != FIN_READ
            and w.gateway.lingering_time_ms
        ):
            # Closing now would reset the connection, and the client might lose
            # an answer that it has not read yet (RFC 9112 section 9.6).
            start_linger(w, d)
        else:
            downstream_close(w, d, False)
        return
    d.phase = PHASE_IDLE
    idle_ms = DRAIN_GRACE_MS if w.draining else w.gateway.keepalive_ms
    d.read_deadline_ms = w.now_ms + idle_ms
    if idle_ms > w.gateway.send_timeout_ms:
        idle_ms = w.gateway.send_timeout_ms
    timer_set(&w.wheel, &c.timer, w.now_ms + idle_ms)
    idle_add(w, d)
    if unread:
        conn_queue(w, c)


cdef void start_linger(Worker *w, Downstream *d) noexcept nogil:
    reader_drop(&d.reader)
    d.phase = PHASE_LINGER
    d.read_deadline_ms = 0
    conn_end(w, &d.conn)
    if d.conn.shut:
        wait_for_end(w, d)
    else:
        downstream_rearm(w, d)
    conn_queue(w, &d.conn)


cdef int64_t linger_deadline(Worker *w, const Downstream *d) noexcept nogil:
    cdef int64_t silent = d.last_read_ms + w.gateway.lingering_timeout_ms
    return silent if silent < d.linger_by_ms else d.linger_by_ms


cdef void wait_for_end(Worker *w, Downstream *d) noexcept nogil:
    """Our FIN is out: the client's is awaited from now on.

    Only so many may be waited for at a time; a newcomer takes the place of the one
    that has had the longest time to read its answer.
    """
    cdef uint64_t *place = &w.lingerers[w.next_lingerer]
    cdef Downstream *oldest = NULL
    if d.conn.peer_ended == FIN_READ or w.gateway.lingering_time_ms == 0:
        downstream_close(w, d, False)
        return
    if place[0]:
        oldest = <Downstream *>slab_find(
            &w.downstreams, <uint32_t>place[0],
            <uint32_t>(place[0] >> 32) & GENERATION_MASK,
        )
    if oldest is not NULL and oldest.phase == PHASE_LINGER:
        downstream_close(w, oldest, False)
    place[0] = token(KIND_DOWNSTREAM, d.conn.item.index, d.conn.item.generation)
    w.next_lingerer = (w.next_lingerer + 1) % MAX_LINGERERS
    d.linger_by_ms = w.now_ms + w.gateway.lingering_time_ms
    d.last_read_ms = w.now_ms
    if w.draining:
        hurry(w, d)
    d.read_deadline_ms = linger_deadline(w, d)
    downstream_rearm(w, d)


cdef void hurry(Worker *w, Downstream *d) noexcept nogil:
    if d.linger_by_ms > w.now_ms + DRAIN_LINGER_MS:
        d.linger_by_ms = w.now_ms + DRAIN_LINGER_MS


cdef void downstream_tunnel(Worker *w, Downstream *d) noexcept nogil:
    """From here on its bytes are another protocol's."""
    reader_expect(&d.reader, BODY_RAW, 0)
    d.close_after = 1
    d.read_deadline_ms = 0
    conn_queue(w, &d.conn)


cdef void downstream_drain(Worker *w, Downstream *d) noexcept nogil:
    """Shutting down: an idle client may still have sent something. Wait a little
    for that, answer it with Connection: close, and only then close.
    """
    if d.phase == PHASE_IDLE and d.exchange is NULL:
        d.read_deadline_ms = w.now_ms + DRAIN_GRACE_MS
        downstream_rearm(w, d)
    elif d.phase == PHASE_LINGER and d.read_deadline_ms:
        hurry(w, d)
        d.read_deadline_ms = linger_deadline(w, d)
        downstream_rearm(w, d)


# --- timers ----------------------------------------------------------------

cdef void downstream_rearm(Worker *w, Downstream *d) noexcept nogil:
    """One timer, set to whichever of the deadlines in force comes first."""
    cdef int64_t at = d.read_deadline_ms
    cdef int64_t pace_at
    if d.conn.blocked_ms:
        pace_at = conn_pace_at(w, &d.conn)
        if at == 0 or pace_at < at:
            at = pace_at
    if d.exchange is not NULL and d.exchange.deadline_ms and (
        at == 0 or d.exchange.deadline_ms < at
    ):
        at = d.exchange.deadline_ms
    if at:
        timer_set(&w.wheel, &d.conn.timer, at)
    else:
        timer_idle(&d.conn.timer)


cdef void leave(Worker *w, Downstream *d) noexcept nogil:
    """PHASE_LEAVING: close when the client has all, or takes no more."""
    if conn_has_left(w, &d.conn):
        downstream_close(w, d, True)
    else:
        timer_set(&w.wheel, &d.conn.timer, w.now_ms + LEAVE_LOOK_MS)


cdef void downstream_timer(Worker *w, Downstream *d) noexcept nogil:
    cdef Exchange *x = d.exchange
    cdef int fault
    if d.phase == PHASE_LEAVING:
        leave(w, d)
        return
    if x is not NULL and x.deadline_ms and w.now_ms >= x.deadline_ms:
        w.events.client_fault(w, x, FAULT_DEADLINE)
        return
    if d.conn.blocked_ms and w.now_ms >= conn_pace_at(w, &d.conn):
        fault = conn_pace(w, &d.conn)
        if fault:
            if x is not NULL:
                w.events.client_fault(w, x, fault)
            else:
                downstream_close(w, d, True)
            return
    elif d.conn.blocked_ms == 0 and (
        d.phase == PHASE_IDLE or d.phase == PHASE_LINGER
    ):
        # The kernel may still hold some of the last answer.
        conn_watch_pace(w, &d.conn)
    if d.read_deadline_ms == 0 or w.now_ms < d.read_deadline_ms:
        downstream_rearm(w, d)
        return
    if d.conn.broken:
        lost(w, d)
    elif d.phase == PHASE_HEAD:
        refuse(w, d, FAULT_HEADER_TIMEOUT)
    elif d.phase == PHASE_BUSY:
        body_deadline(w, d)
    elif d.phase == PHASE_LINGER and linger_deadline(w, d) > w.now_ms:
        d.read_deadline_ms = linger_deadline(w, d)
        downstream_rearm(w, d)
    elif d.conn.blocked_ms:
        # It still reads its last answer, and fast enough.
        if d.phase == PHASE_IDLE:
            start_linger(w, d)
        else:
            d.read_deadline_ms = conn_pace_at(w, &d.conn)
            downstream_rearm(w, d)
    elif d.phase == PHASE_IDLE and has_news(d):
        last_read(w, d)
    else:
        downstream_close(w, d, False)


cdef void last_read(Worker *w, Downstream *d) noexcept nogil:
    """Its idle time is over, but what it sent came in time: a request, or nothing."""
    cdef uint32_t generation = d.conn.item.generation
    d.conn.readable = 1
    downstream_run(w, d)
    if (
        d.conn.item.generation == generation and d.phase == PHASE_IDLE
        and d.read_deadline_ms <= w.now_ms
    ):
        downstream_close(w, d, False)


cdef void body_deadline(Worker *w, Downstream *d) noexcept nogil:
    """The body's idle time or rate window is over: judge, and open the next."""
    cdef Exchange *x = d.exchange
    cdef int64_t window = w.now_ms - x.rate_since_ms
    if d.reader.body_kind == BODY_NONE:
        d.read_deadline_ms = 0
        downstream_rearm(w, d)
        return
    if not takes_body(w, x):
        # It is us who do not read.
        d.last_read_ms = w.now_ms
        x.rate_since_ms = w.now_ms
        x.rate_bytes = 0
    elif w.now_ms - d.last_read_ms >= w.gateway.body_timeout_ms:
        w.events.client_fault(w, x, FAULT_BODY_TIMEOUT)
        return
    elif w.gateway.min_rate and window >= RATE_WINDOW_MS:
        if x.rate_bytes * 1000 < w.gateway.min_rate * window:
            w.events.client_fault(w, x, FAULT_BODY_TOO_SLOW)
            return
        x.rate_since_ms = w.now_ms
        x.rate_bytes = 0
    expect_body(w, d)


cdef void expect_body(Worker *w, Downstream *d) noexcept nogil:
    """Set the time by which the body must have gone on."""
    cdef int64_t at = d.last_read_ms + w.gateway.body_timeout_ms
    cdef int64_t window = d.exchange.rate_since_ms + RATE_WINDOW_MS
    d.read_deadline_ms = window if w.gateway.min_rate and window < at else at
    downstream_rearm(w, d)


# --- events ----------------------------------------------------------------

cdef void downstream_event(Worker *w, Downstream *d, uint32_t events) noexcept nogil:
    cdef Conn *c = &d.conn
    cdef uint32_t generation = c.item.generation
    if events & EPOLLRDHUP and not c.peer_ended:
        c.peer_ended = FIN_SEEN
    if events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP):
        c.readable = 1
        if events & EPOLLPRI:
            c.urgent = 1
    if events & EPOLLERR or (events & EPOLLHUP and not c.shut):
        c.broken = 1
        # What came before the reset is still there to be read.
        c.readable = 1
    if events & EPOLLOUT and bytes_len(&c.output):
        conn_flush(w, c)
        if d.phase == PHASE_LINGER and c.shut:
            wait_for_end(w, d)
        elif d.phase != PHASE_LEAVING:
            downstream_rearm(w, d)
        if d.exchange is not NULL and not c.broken and not is_full(w, d.exchange):
            w.events.client_flushed(w, d.exchange)
        if c.item.generation != generation:
            return
    if d.phase == PHASE_LEAVING:
        leave(w, d)
        return
    if (
        c.peer_ended
        and not w.gateway.half_close
        and d.exchange is not NULL
        and d.reader.body_kind == BODY_NONE
        and not step_info(d.exchange.step).passes_fin
    ):
        # It cannot be told whether the client has only ended its own side or is
        # gone; by configuration, it is gone.
        w.events.client_fault(w, d.exchange, FAULT_CLIENT_ABORT)
    elif c.readable or c.broken:
        downstream_run(w, d)


cdef void downstream_run(Worker *w, Downstream *d) noexcept nogil:
    """Read and pass on while there is something and somebody takes it."""
    cdef Conn *c = &d.conn
    cdef uint32_t generation = c.item.generation
    cdef int turns = 0
    cdef Reading bytes
    if d.phase == PHASE_LEAVING:
        leave(w, d)
        return
    bytes.n = 0
    while c.item.generation == generation:
        # What a client said in a tunnel before it reset it was said.
        if c.broken and (
            d.reader.body_kind != BODY_RAW or not (c.readable or bytes.n)
        ):
            lost(w, d)
            return
        if d.phase == PHASE_LINGER:
            bytes.n = 0
            if linger(w, d):
                return
        elif d.exchange is not NULL and (
            d.reader.body_kind == BODY_NONE or not takes_body(w, d.exchange)
        ):
            if not reader_keep(&d.reader, &bytes):
                w.events.client_fault(w, d.exchange, FAULT_INTERNAL)
            elif c.broken and d.read_deadline_ms == 0:
                # The endpoint has as long to take the rest of it.
                d.read_deadline_ms = w.now_ms + w.gateway.send_timeout_ms
                downstream_rearm(w, d)
            return
        elif turns >= READS_PER_TURN and d.reader.body_kind == BODY_NONE:
            # One read may hold thousands of requests that we answer at once.
            if reader_keep(&d.reader, &bytes):
                conn_queue(w, c)
            else:
                downstream_close(w, d, True)
            return
        elif not use(w, d, &bytes, &turns):
            return


cdef inline bint use(
    Worker *w, Downstream *d, Reading *bytes, int *turns
) noexcept nogil:
    """Pass on the next piece of a request, or read more. False: nothing is there."""
    cdef int found = reader_next(&d.reader, bytes, &w.request, &w.gateway.head)
    if found == FOUND_HEAD:
        turns[0] += 1
        head_complete(w, d)
    elif found == FOUND_BODY:
        body_piece(w, d, bytes)
    elif found == FOUND_FAULT:
        if d.exchange is not NULL:
            w.events.client_fault(w, d.exchange, bytes.fault)
        else:
            refuse(w, d, bytes.fault)
        return False
    else:
        if found == FOUND_PARTIAL:
            head_begins(w, d)
        if turns[0] >= READS_PER_TURN:
            conn_queue(w, &d.conn)
            return False
        turns[0] += 1
        return read_more(w, d, bytes)
    return True


cdef inline bint read_more(Worker *w, Downstream *d, Reading *bytes) noexcept nogil:
    """What was kept and what the socket has, into scratch. False: it has nothing."""
    cdef Conn *c = &d.conn
    cdef size_t held = 0
    cdef ssize_t n
    if bytes_len(&d.reader.kept) and (c.readable or d.reader.seen == 0):
        held = reader_recall(&d.reader, w.scratch)
    bytes.at = w.scratch
    bytes.n = held
    if held and d.reader.seen == 0:
        return True
    if not c.readable:
        return False
    n = conn_recv(w, c, w.scratch + held, w.scratch_bytes - held)
    if n > 0:
        fg_bump(&w.row.bytes_in, n)
        bytes.n = held + <size_t>n
        return True
    bytes.n = 0
    if c.broken:
        # Not the end of what was sent, even where recv says so.
        return True
    if c.peer_ended == FIN_READ:
        ended(w, d)
    return False


cdef void lost(Worker *w, Downstream *d) noexcept nogil:
    if d.exchange is not NULL:
        w.events.client_fault(w, d.exchange, FAULT_CLIENT_ABORT)
    elif d.phase == PHASE_HEAD:
        # What it had begun to ask for has a line in the log, as with nginx.
        refuse(w, d, FAULT_CLIENT_ABORT)
    else:
        downstream_close(w, d, False)


cdef void ended(Worker *w, Downstream *d) noexcept nogil:
    """The client's FIN, with everything before it read."""
    if d.exchange is NULL:
        lost(w, d)
    elif d.reader.body_kind == BODY_RAW:
        d.reader.body_kind = BODY_NONE
        w.events.request_end(w, d.exchange)
    else:
        # A body cut short must never look whole (RFC 9112 section 8).
        w.events.client_fault(w, d.exchange, FAULT_CLIENT_ABORT)


cdef bint linger(Worker *w, Downstream *d) noexcept nogil:
    """Discard what comes. True: nothing more to do now."""
    cdef ssize_t n
    if not d.conn.readable:
        return True
    n = conn_discard(w, &d.conn)
    if n > 0:
        d.last_read_ms = w.now_ms
        fg_bump(&w.row.bytes_in, n)
        return False
    if d.conn.broken:
        return False
    if d.conn.peer_ended == FIN_READ and bytes_len(&d.conn.output) == 0:
        downstream_close(w, d, False)
    return True


# --- reading ---------------------------------------------------------------

cdef void refuse(Worker *w, Downstream *d, int fault) noexcept nogil:
    """What came is no request: busy with saying so until the client has taken it."""
    if (
        fault == FAULT_HEADER_TIMEOUT or fault == FAULT_CLIENT_ABORT
        or fault == FAULT_INTERNAL
    ):
        w.request.rule = NULL
        w.request.start = d.reader.kept.data + d.reader.kept.at
        w.request.sent_len = bytes_len(&d.reader.kept)
    idle_remove(w, d)
    d.phase = PHASE_BUSY
    d.goes_on = 1
    d.read_deadline_ms = 0
    timer_idle(&d.conn.timer)
    w.events.request_refused(w, d, fault)


cdef void head_begins(Worker *w, Downstream *d) noexcept nogil:
    """Part of a request head is kept."""
    cdef const Bytes *kept = &d.reader.kept
    if d.phase == PHASE_HEAD:
        return
    if is_blank_head(kept.data + kept.at, bytes_len(kept)):
        # An empty line behind a request begins no other (RFC 9112 section 2.2): the
        # client is as idle as before, and its times go on.
        reader_drop(&d.reader)
        return
    # The whole head must come within this; bytes do not prolong it.
    idle_remove(w, d)
    d.phase = PHASE_HEAD
    if d.requests or d.read_deadline_ms == 0:
        d.read_deadline_ms = w.now_ms + w.gateway.header_timeout_ms
    downstream_rearm(w, d)


cdef void body_piece(Worker *w, Downstream *d, Reading *bytes) noexcept nogil:
    """A piece of the request's body, or its end, or both."""
    cdef uint32_t generation = d.conn.item.generation
    d.last_read_ms = w.now_ms
    if bytes.body_len:
        w.events.request_body(w, d.exchange, bytes.body, bytes.body_len)
        if d.conn.item.generation != generation or d.exchange is NULL:
            return
    if bytes.is_end:
        d.read_deadline_ms = 0
        downstream_rearm(w, d)
        w.events.request_end(w, d.exchange)


cdef void head_complete(Worker *w, Downstream *d) noexcept nogil:
    """w.request is a whole head: an exchange begins."""
    cdef Conn *c = &d.conn
    cdef uint32_t generation = c.item.generation
    idle_remove(w, d)
    d.phase = PHASE_BUSY
    d.requests += 1
    d.read_deadline_ms = 0
    timer_idle(&c.timer)
    if w.request.chunked:
        reader_expect(&d.reader, BODY_CHUNKED, 0)
    elif w.request.content_length > 0:
        reader_expect(&d.reader, BODY_COUNTED, w.request.content_length)
    d.close_after = (
        not w.request.keep_alive
        or w.draining
        or w.gateway.keepalive_ms == 0
        or (
            w.gateway.keepalive_requests != 0
            and d.requests >= w.gateway.keepalive_requests
        )
    )
    d.goes_on = w.request.keep_alive
    d.last_read_ms = w.now_ms
    w.events.request_head(w, d)
    if c.item.generation == generation and d.exchange is not NULL:
        if d.reader.body_kind != BODY_NONE:
            expect_body(w, d)
        elif d.exchange.deadline_ms:
            downstream_rearm(w, d)


# --- what the exchange asks of this side -----------------------------------

cdef int send_head(Worker *w, Exchange *x, const Framing *framing) noexcept nogil:
    """w.response, by the route's policy, framed as `framing` says."""
    cdef Conn *c = &x.client.conn
    cdef char *room = cork_room(w, c, RESPONSE_HEAD_BYTES)
    cdef ssize_t n = write_response(
        room, RESPONSE_HEAD_BYTES, &w.response, &w.routes[x.route].response, framing,
        w.clock.http_date,
    )
    if n < 0:
        return <int>-n
    cork_add(w, <size_t>n)
    fg_bump(&w.row.bytes_out, n)
    return FAULT_NONE


cdef void send_body(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil:
    cdef Downstream *d = x.client
    if x.response_kind == BODY_CHUNKED:
        write_chunk(w, &d.conn, data, n)
    else:
        conn_write(w, &d.conn, data, n)
    fg_bump(&w.row.bytes_out, <int64_t>n)


cdef void send_end(Worker *w, Exchange *x) noexcept nogil:
    cdef Downstream *d = x.client
    if x.step == STEP_TUNNEL:
        conn_end(w, &d.conn)
        return
    if x.response_kind == BODY_CHUNKED:
        conn_write(w, &d.conn, b"0\r\n\r\n", 5)
    if w.cork_of is &d.conn:
        cork_push(w)


cdef void cut(Worker *w, Exchange *x) noexcept nogil:
    cdef Downstream *d = x.client
    d.exchange = NULL
    x.client = NULL
    if x.response_kind == BODY_RAW:
        d.phase = PHASE_LEAVING
        reader_drop(&d.reader)
        conn_leave(w, &d.conn)
        leave(w, d)
    else:
        # Fewer bytes than announced, or no last chunk: a FIN shows it as well
        # (RFC 9112 section 8), and destroys nothing.
        d.close_after = 1
        downstream_next(w, d)


cdef void reset(Worker *w, Exchange *x) noexcept nogil:
    if x.client is not NULL:
        downstream_close(w, x.client, True)


cdef void resume(Worker *w, Exchange *x) noexcept nogil:
    if x.client is not NULL:
        # Until now it was us who did not read: its times begin anew.
        x.client.last_read_ms = w.now_ms
        x.rate_since_ms = w.now_ms
        x.rate_bytes = 0
        conn_queue(w, &x.client.conn)


cdef bint is_full(Worker *w, Exchange *x) noexcept nogil:
    return (
        x.client is not NULL
        and bytes_len(&x.client.conn.output) >= w.gateway.buffer_response_bytes
    )


cdef SideOps SIDE
SIDE.head = send_head
SIDE.body = send_body
SIDE.end = send_end
SIDE.cut = cut
SIDE.reset = reset
SIDE.resume = resume
SIDE.is_full = is_full


cdef const SideOps *downstream_side() noexcept nogil:
    return &SIDE
