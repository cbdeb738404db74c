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
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport strlen

from fastgate.dataplane.base.atomics cimport fg_bump, fg_bump32
from fastgate.dataplane.base.faults cimport (
    FAULT_CLIENT_ABORT, FAULT_DEADLINE, FAULT_HEADER_TIMEOUT, FAULT_INTERNAL,
    FAULT_NONE,
)
from fastgate.dataplane.base.memory cimport Bytes, bytes_len, slab_give, slab_take
from fastgate.dataplane.base.system cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, close,
)
from fastgate.dataplane.base.wheel cimport timer_idle, timer_set
from fastgate.dataplane.conn.conn cimport (
    DRAIN_HARD, FIN_READ, FIN_SEEN, KIND_CLIENT, LEAVE_LOOK_MS, Conn, Owner,
    conn_discard, conn_end, conn_flush, conn_has_left, conn_leave, conn_open, conn_pace,
    conn_pace_at, conn_queue, conn_recv, conn_watch_pace, conn_write, cork_add,
    cork_push, cork_room, cork_take_back,
)
from fastgate.dataplane.conn.peer cimport peer_name
from fastgate.dataplane.exchange.exchange cimport (
    abandon, client_flushed, request_body, request_end, request_head, request_refused,
)
from fastgate.dataplane.exchange.sides cimport (
    QUEUED_FOR_EVER, Client, ClientOps, Exchange, is_full, takes_body,
)
from fastgate.dataplane.exchange.steps cimport STEP_TUNNEL, step_info
from fastgate.dataplane.h1.connections cimport (
    PHASE_BUSY, PHASE_HEAD, PHASE_IDLE, PHASE_LEAVING, PHASE_LINGER, READS_PER_TURN,
    RESPONSE_HEAD_BYTES, client_of, h1, h1_client,
)
from fastgate.dataplane.h1.deadlines cimport (
    body_deadline, client_close, client_rearm, expect_body, hurry, linger_deadline,
    start_linger, wait_for_end,
)
from fastgate.dataplane.h1.idle cimport has_news, idle_add, idle_longest, idle_remove
from fastgate.dataplane.h1.parser cimport is_blank_head
from fastgate.dataplane.h1.reader cimport (
    FOUND_BODY, FOUND_FAULT, FOUND_HEAD, FOUND_PARTIAL, Reading, reader_drop,
    reader_expect, reader_init, reader_keep, reader_next, reader_recall,
)
from fastgate.dataplane.h1.write cimport (
    REPLY_BYTES, write_chunk, write_reply, write_response,
)
from fastgate.dataplane.http.message cimport (
    BODY_CHUNKED, BODY_COUNTED, BODY_NONE, BODY_RAW, Head,
)
from fastgate.dataplane.http.outgoing cimport Framing
from fastgate.dataplane.plan.answer cimport Page

cdef enum:
    DRAIN_GRACE_MS = 500        # for a request on its way over an idle connection


# --- opening and closing ---------------------------------------------------

cdef H1Client *client_open(
    Worker *w, int fd, int listener, const sockaddr_storage *peer
) noexcept nogil:
    """Take over an accepted socket. NULL: no memory, `fd` is closed."""
    cdef H1Client *d = <H1Client *>slab_take(&h1(w).clients)
    if d is NULL:
        close(fd)
        return NULL
    if conn_open(w, &d.conn, fd, KIND_CLIENT, &OWNER, False) < 0:
        close(fd)
        d.conn.fd = -1
        slab_give(&h1(w).clients, d)
        return NULL
    d.client.ops = &OPS
    d.client.exchange = NULL
    d.phase = PHASE_IDLE
    d.is_idle = 0
    d.client.close_after = 0
    d.goes_on = 0
    d.client.listener = listener
    d.requests = 0
    peer_name(w, &d.client.peer, peer)
    reader_init(&d.reader, False, False)
    fg_bump32(&w.row.connections, 1)
    # A client that says nothing has as long as one that is slow to say it.
    d.read_deadline_ms = w.now_ms + w.gateway.header_timeout_ms
    timer_set(&w.wheel, &d.conn.timer, d.read_deadline_ms)
    idle_add(w, d)
    return d


cdef bint client_retire(Worker *w) noexcept nogil:
    """Close the client that has been idle longest, for a newcomer's sake.

    False: there is none.
    """
    cdef H1Client *d = idle_longest(w)
    if d is NULL:
        return False
    client_close(w, d, False)
    fg_bump(&w.row.retired, 1)
    return True


cdef void client_next(Worker *w, H1Client *d) noexcept nogil:
    """Its exchange has ended, all is sent: the next request, or the end."""
    cdef Conn *c = &d.conn
    cdef bint unread = (
        d.reader.body_kind != BODY_NONE or c.readable
        or bytes_len(&d.reader.kept) != 0
    )
    cdef int64_t idle_ms
    d.client.exchange = NULL
    if c.broken:
        client_close(w, d, False)
        return
    if d.client.close_after:
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
            client_close(w, d, False)
        return
    d.phase = PHASE_IDLE
    idle_ms = w.gateway.keepalive_ms
    if w.draining == DRAIN_HARD:
        idle_ms = DRAIN_GRACE_MS
    d.read_deadline_ms = w.now_ms + idle_ms
    if idle_ms > w.gateway.send_timeout_ms:
        idle_ms = w.gateway.send_timeout_ms
    timer_set(&w.wheel, &c.timer, w.now_ms + idle_ms)
    idle_add(w, d)
    if unread:
        conn_queue(w, c)


cdef void client_drain(Worker *w, Conn *c) noexcept nogil:
    """Shutting down: an idle client may still have sent something. Wait a little
    for that, answer it with Connection: close, and only then close.
    """
    cdef H1Client *d = <H1Client *>c
    if d.phase == PHASE_IDLE and d.client.exchange is NULL:
        d.read_deadline_ms = w.now_ms + DRAIN_GRACE_MS
        client_rearm(w, d)
    elif d.phase == PHASE_LINGER and d.read_deadline_ms:
        hurry(w, d)
        d.read_deadline_ms = linger_deadline(w, d)
        client_rearm(w, d)


# --- timers ----------------------------------------------------------------

cdef void leave(Worker *w, H1Client *d) noexcept nogil:
    """PHASE_LEAVING: close when the client has all, or takes no more."""
    if conn_has_left(w, &d.conn):
        client_close(w, d, True)
    else:
        timer_set(&w.wheel, &d.conn.timer, w.now_ms + LEAVE_LOOK_MS)


cdef void client_timer(Worker *w, Conn *c) noexcept nogil:
    cdef H1Client *d = <H1Client *>c
    cdef Exchange *x = d.client.exchange
    cdef int fault
    if d.phase == PHASE_LEAVING:
        leave(w, d)
        return
    if x is not NULL and x.deadline_ms and w.now_ms >= x.deadline_ms:
        abandon(w, x, FAULT_DEADLINE)
        return
    if d.conn.blocked_ms and w.now_ms >= conn_pace_at(w, &d.conn):
        fault = conn_pace(w, &d.conn)
        if fault:
            if x is not NULL:
                abandon(w, x, fault)
            else:
                client_close(w, d, True)
            return
    elif d.conn.blocked_ms == 0 and (
        d.phase == PHASE_IDLE or d.phase == PHASE_LINGER
    ):
        # The kernel may still hold some of the last answer.
        conn_watch_pace(w, &d.conn)
    if d.read_deadline_ms == 0 or w.now_ms < d.read_deadline_ms:
        client_rearm(w, d)
        return
    if d.conn.broken:
        lost(w, d)
    elif d.phase == PHASE_HEAD:
        refuse(w, d, FAULT_HEADER_TIMEOUT)
    elif d.phase == PHASE_BUSY:
        body_deadline(w, d)
    elif d.phase == PHASE_LINGER and linger_deadline(w, d) > w.now_ms:
        d.read_deadline_ms = linger_deadline(w, d)
        client_rearm(w, d)
    elif d.conn.blocked_ms:
        # It still reads its last answer, and fast enough.
        if d.phase == PHASE_IDLE:
            start_linger(w, d)
        else:
            d.read_deadline_ms = conn_pace_at(w, &d.conn)
            client_rearm(w, d)
    elif d.phase == PHASE_IDLE and has_news(d):
        last_read(w, d)
    else:
        client_close(w, d, False)


cdef void last_read(Worker *w, H1Client *d) noexcept nogil:
    """Its idle time is over, but what it sent came in time: a request, or nothing."""
    cdef uint32_t generation = d.conn.item.generation
    d.conn.readable = 1
    client_run(w, &d.conn)
    if (
        d.conn.item.generation == generation and d.phase == PHASE_IDLE
        and d.read_deadline_ms <= w.now_ms
    ):
        client_close(w, d, False)


# --- events ----------------------------------------------------------------

cdef void client_event(Worker *w, Conn *c, uint32_t events) noexcept nogil:
    cdef H1Client *d = <H1Client *>c
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
            client_rearm(w, d)
        if (
            d.client.exchange is not NULL
            and not c.broken
            and not is_full(w, bytes_len(&c.output))
        ):
            client_flushed(w, d.client.exchange)
        if c.item.generation != generation:
            return
    if d.phase == PHASE_LEAVING:
        leave(w, d)
        return
    if (
        c.peer_ended
        and not w.gateway.half_close
        and d.client.exchange is not NULL
        and d.reader.body_kind == BODY_NONE
        and not step_info(d.client.exchange.step).passes_fin
    ):
        # It cannot be told whether the client has only ended its own side or is
        # gone; by configuration, it is gone.
        abandon(w, d.client.exchange, FAULT_CLIENT_ABORT)
    elif c.readable or c.broken:
        client_run(w, c)


cdef void client_run(Worker *w, Conn *c) noexcept nogil:
    """Read and pass on while there is something and somebody takes it."""
    cdef H1Client *d = <H1Client *>c
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
        if d.phase == PHASE_LEAVING:
            return
        if d.phase == PHASE_LINGER:
            bytes.n = 0
            if linger(w, d):
                return
            turns += 1
            if turns >= READS_PER_TURN:
                conn_queue(w, c)
                return
        elif d.client.exchange is not NULL and (
            d.reader.body_kind == BODY_NONE or not takes_body(w, d.client.exchange)
        ):
            if not reader_keep(&d.reader, &bytes):
                abandon(w, d.client.exchange, FAULT_INTERNAL)
            elif c.broken and d.read_deadline_ms == 0:
                # The endpoint has as long to take the rest of it.
                d.read_deadline_ms = w.now_ms + w.gateway.send_timeout_ms
                client_rearm(w, d)
            return
        elif turns >= READS_PER_TURN and d.reader.body_kind == BODY_NONE:
            # One read may hold thousands of requests that we answer at once.
            if reader_keep(&d.reader, &bytes):
                conn_queue(w, c)
            else:
                client_close(w, d, True)
            return
        elif not use(w, d, &bytes, &turns):
            return


cdef inline bint use(
    Worker *w, H1Client *d, Reading *bytes, int *turns
) noexcept nogil:
    """Pass on the next piece of a request, or read more. False: nothing is there."""
    cdef int found = reader_next(&d.reader, bytes, &h1(w).request, &w.gateway.head)
    if found == FOUND_HEAD:
        turns[0] += 1
        head_complete(w, d)
    elif found == FOUND_BODY:
        body_piece(w, d, bytes)
    elif found == FOUND_FAULT:
        if d.client.exchange is not NULL:
            abandon(w, d.client.exchange, bytes.fault)
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


cdef inline bint read_more(Worker *w, H1Client *d, Reading *bytes) noexcept nogil:
    """What was kept and what the socket has, into scratch. False: it has nothing."""
    cdef Conn *c = &d.conn
    cdef size_t held = 0
    cdef ssize_t n
    if not c.readable and bytes_len(&d.reader.kept) == d.reader.seen:
        return False
    held = reader_recall(&d.reader, w.scratch)
    bytes.at = w.scratch
    bytes.n = held
    if held > d.reader.seen:
        # Some of it has waited for this turn.
        return True
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


cdef void lost(Worker *w, H1Client *d) noexcept nogil:
    if d.client.exchange is not NULL:
        abandon(w, d.client.exchange, FAULT_CLIENT_ABORT)
    elif d.phase == PHASE_HEAD:
        # What it had begun to ask for has a line in the log, as with nginx.
        refuse(w, d, FAULT_CLIENT_ABORT)
    else:
        client_close(w, d, False)


cdef void ended(Worker *w, H1Client *d) noexcept nogil:
    """The client's FIN, with everything before it read."""
    if d.client.exchange is NULL:
        lost(w, d)
    elif d.reader.body_kind == BODY_RAW:
        d.reader.body_kind = BODY_NONE
        request_end(w, d.client.exchange)
    else:
        # A body cut short must never look whole (RFC 9112 section 8).
        abandon(w, d.client.exchange, FAULT_CLIENT_ABORT)


cdef bint linger(Worker *w, H1Client *d) noexcept nogil:
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
        client_close(w, d, False)
    return True


# --- reading ---------------------------------------------------------------

cdef void refuse(Worker *w, H1Client *d, int fault) noexcept nogil:
    """What came is no request: busy with saying so until the client has taken it."""
    if (
        fault == FAULT_HEADER_TIMEOUT or fault == FAULT_CLIENT_ABORT
        or fault == FAULT_INTERNAL
    ):
        h1(w).request.rule = NULL
        h1(w).request.start = d.reader.kept.data + d.reader.kept.at
        h1(w).request.sent_len = bytes_len(&d.reader.kept)
    idle_remove(w, d)
    d.phase = PHASE_BUSY
    d.goes_on = 1
    d.read_deadline_ms = 0
    timer_idle(&d.conn.timer)
    if not request_refused(w, &d.client, fault, &h1(w).request):
        client_close(w, d, True)


cdef void head_begins(Worker *w, H1Client *d) noexcept nogil:
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
    client_rearm(w, d)


cdef void body_piece(Worker *w, H1Client *d, Reading *bytes) noexcept nogil:
    """A piece of the request's body, or its end, or both."""
    cdef uint32_t generation = d.conn.item.generation
    d.last_read_ms = w.now_ms
    if bytes.body_len:
        request_body(w, d.client.exchange, bytes.body, bytes.body_len)
        if d.conn.item.generation != generation or d.client.exchange is NULL:
            return
    if bytes.is_end:
        d.read_deadline_ms = 0
        client_rearm(w, d)
        request_end(w, d.client.exchange)


cdef void head_complete(Worker *w, H1Client *d) noexcept nogil:
    """h1(w).request is a whole head: an exchange begins."""
    cdef Conn *c = &d.conn
    cdef uint32_t generation = c.item.generation
    idle_remove(w, d)
    d.phase = PHASE_BUSY
    d.requests += 1
    d.read_deadline_ms = 0
    timer_idle(&c.timer)
    if h1(w).request.chunked:
        reader_expect(&d.reader, BODY_CHUNKED, 0)
    elif h1(w).request.content_length > 0:
        reader_expect(&d.reader, BODY_COUNTED, h1(w).request.content_length)
    d.client.close_after = (
        not h1(w).request.keep_alive
        or w.draining
        or w.gateway.keepalive_ms == 0
        or (
            w.gateway.keepalive_requests != 0
            and d.requests >= w.gateway.keepalive_requests
        )
    )
    d.goes_on = h1(w).request.keep_alive
    d.last_read_ms = w.now_ms
    if not request_head(w, &d.client, &h1(w).request):
        client_close(w, d, True)
        return
    if c.item.generation == generation and d.client.exchange is not NULL:
        if d.reader.body_kind != BODY_NONE:
            expect_body(w, d)
        elif d.client.exchange.deadline_ms:
            client_rearm(w, d)


# --- what the exchange asks of this side -----------------------------------

cdef int send_head(
    Worker *w, Exchange *x, const Head *h, const Framing *framing
) noexcept nogil:
    """`h`, by the route's policy, framed as `framing` says."""
    cdef Conn *c = &client_of(x).conn
    cdef bint interim = h.status < 200 and h.status != 101
    cdef char *room
    cdef ssize_t n
    if not interim:
        # From here on it can be taken back, until the first byte of it leaves.
        if w.cork_of is c:
            cork_push(w)
        c.spoke = 0
    room = cork_room(w, c, RESPONSE_HEAD_BYTES)
    n = write_response(
        room, RESPONSE_HEAD_BYTES, h, &w.routes[x.route].response, framing,
        w.clock.http_date,
    )
    if n < 0:
        return <int>-n
    cork_add(w, <size_t>n)
    fg_bump(&w.row.bytes_out, n)
    if interim:
        cork_push(w)
    return FAULT_NONE


cdef void send_body(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil:
    cdef Conn *c = &client_of(x).conn
    if x.response_kind == BODY_CHUNKED:
        write_chunk(w, c, data, n)
    else:
        conn_write(w, c, data, n)
    fg_bump(&w.row.bytes_out, <int64_t>n)


cdef void send_end(Worker *w, Exchange *x) noexcept nogil:
    cdef Conn *c = &client_of(x).conn
    if x.step == STEP_TUNNEL:
        conn_end(w, c)
        return
    if x.response_kind == BODY_CHUNKED:
        conn_write(w, c, b"0\r\n\r\n", 5)
    if w.cork_of is c:
        cork_push(w)


cdef int send_reply(
    Worker *w, Exchange *x, int status, const char *text, const Page *page
) noexcept nogil:
    cdef Conn *c = &client_of(x).conn
    cdef char *room = cork_room(w, c, REPLY_BYTES)
    cdef ssize_t n = write_reply(
        room, REPLY_BYTES, status, text, page,
        w.gateway.server_header.at, w.gateway.server_header.len, w.clock.http_date,
        w.listeners[x.client.listener].allow.at, x.client.close_after, x.is_head,
    )
    if n < 0:
        return <int>-n
    cork_add(w, <size_t>n)
    if not x.is_head:
        x.response_bytes = page.body.len if page else <int64_t>strlen(text) + 5
        if page is not NULL:
            conn_write(w, c, page.body.at, page.body.len)
            n += page.body.len
    cork_push(w)
    fg_bump(&w.row.bytes_out, n)
    return FAULT_NONE


cdef bint take_back(Worker *w, Exchange *x) noexcept nogil:
    cdef Conn *c = &client_of(x).conn
    if c.spoke:
        return False
    fg_bump(&w.row.bytes_out, -<int64_t>cork_take_back(w, c))
    return True


cdef void tunnel(Worker *w, Exchange *x) noexcept nogil:
    cdef H1Client *d = client_of(x)
    reader_expect(&d.reader, BODY_RAW, 0)
    d.client.close_after = 1
    d.read_deadline_ms = 0
    conn_queue(w, &d.conn)


cdef void cut(Worker *w, Exchange *x) noexcept nogil:
    cdef H1Client *d = client_of(x)
    d.client.exchange = NULL
    x.client = NULL
    if x.response_kind == BODY_RAW:
        d.phase = PHASE_LEAVING
        reader_drop(&d.reader)
        conn_leave(w, &d.conn)
        leave(w, d)
    else:
        # Fewer bytes than announced, or no last chunk: a FIN shows it as well
        # (RFC 9112 section 8), and destroys nothing.
        d.client.close_after = 1
        client_next(w, d)


cdef void reset(Worker *w, Exchange *x) noexcept nogil:
    client_close(w, client_of(x), True)


cdef void resume(Worker *w, Exchange *x) noexcept nogil:
    cdef H1Client *d = client_of(x)
    # Until now it was us who did not read: its times begin anew.
    d.last_read_ms = w.now_ms
    x.rate_since_ms = w.now_ms
    x.rate_bytes = 0
    conn_queue(w, &d.conn)


cdef size_t queued(Worker *w, Exchange *x) noexcept nogil:
    cdef const Conn *c = &client_of(x).conn
    return QUEUED_FOR_EVER if c.broken else bytes_len(&c.output)


cdef bint has_more(Worker *w, Exchange *x) noexcept nogil:
    cdef const H1Client *d = client_of(x)
    return d.conn.readable or bytes_len(&d.reader.kept) != 0


cdef void done(Worker *w, Client *client) noexcept nogil:
    client_next(w, h1_client(client))


cdef ClientOps OPS
OPS.head = send_head
OPS.body = send_body
OPS.end = send_end
OPS.reply = send_reply
OPS.take_back = take_back
OPS.tunnel = tunnel
OPS.cut = cut
OPS.reset = reset
OPS.resume = resume
OPS.queued = queued
OPS.has_more = has_more
OPS.done = done


cdef void close_now(Worker *w, Conn *c) noexcept nogil:
    client_close(w, <H1Client *>c, False)


cdef Owner OWNER
OWNER.event = client_event
OWNER.early = NULL
OWNER.run = client_run
OWNER.timer = client_timer
OWNER.drain = client_drain
OWNER.close = close_now
OWNER.watches_pace = True
