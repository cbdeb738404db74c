"""One socket in the event loop: reading, writing, the cork. Runs in: worker.

Writing never fails towards the caller. What the socket does not take is queued
in `output`; an error marks the Conn broken and puts it in the run queue, so that
the owner hears of it from the top of the loop and not in the middle of a step.

The cork: a head and the body behind it should leave in one segment. Bytes for one
Conn gather in the cork until the event that made them ends, or until a body too
large to copy arrives, which leaves together with them by one sendmsg.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from fastgate.dataplane.base.faults cimport (
    FAULT_NONE, FAULT_SEND_TIMEOUT, FAULT_SEND_TOO_SLOW,
)
from fastgate.dataplane.base.memory cimport (
    bytes_append, bytes_drop, bytes_eat, bytes_len,
)
from fastgate.dataplane.base.system cimport (
    CLOCK_MONOTONIC,
    EAGAIN,
    EINTR,
    ENOMEM,
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLET,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDHUP,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    SHUT_WR,
    SIOCOUTQ,
    SO_LINGER,
    SOL_SOCKET,
    clock_gettime,
    close,
    epoll_ctl,
    epoll_event,
    errno,
    ioctl,
    iovec,
    linger,
    msghdr,
    recv,
    send,
    sendmsg,
    setsockopt,
    shutdown,
    timespec,
)
from fastgate.dataplane.base.wheel cimport TIMER_CONN, timer_cancel, timer_set


cdef void clock_read(Worker *w) noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    w.now_us = <int64_t>ts.tv_sec * 1000000 + ts.tv_nsec // 1000
    w.now_ms = w.now_us // 1000


cdef int conn_open(
    Worker *w, Conn *c, int fd, uint8_t kind, const Owner *owner, bint watch_out
) noexcept nogil:
    """Take `fd` over and register it. -1: refused by epoll."""
    c.fd = fd
    c.kind = kind
    c.owner = owner
    c.timer.owner = TIMER_CONN
    c.readable = 0
    c.peer_ended = NOT_ENDED
    c.broken = 0
    c.in_run_queue = 0
    c.shut = 0
    c.urgent = 0
    c.end_when_flushed = 0
    c.spoke = 0
    c.ends_by_reset = 0
    c.blocked_ms = 0
    c.os_error = 0
    return watch(w, c, EPOLL_CTL_ADD, watch_out)


cdef int watch(Worker *w, Conn *c, int op, bint out) noexcept nogil:
    cdef epoll_event event
    c.watches_out = out
    event.events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET
    if out:
        event.events |= EPOLLOUT
    event.data.u64 = conn_token(c)
    return epoll_ctl(w.epoll_fd, op, c.fd, &event)


cdef void conn_close(Worker *w, Conn *c, bint reset) noexcept nogil:
    """Close, with a FIN or, if `reset`, an RST.

    An RST takes what the peer's kernel has not acknowledged with it, and is all
    that some peers see: conn_leave is for what must arrive first.
    """
    cdef linger hard
    if c.fd < 0:
        return
    if c.ends_by_reset:
        reset = True
    if w.cork_of is c:
        if not reset:
            cork_push(w)
        w.cork_of = NULL
        w.cork_bytes = 0
    if reset:
        hard.l_onoff = 1
        hard.l_linger = 0
        setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))
    timer_cancel(&w.wheel, &c.timer)
    close(c.fd)
    c.fd = -1
    bytes_drop(&c.output)


cdef ssize_t conn_recv(Worker *w, Conn *c, char *into, size_t room) noexcept nogil:
    """Bytes read; 0: nothing is there yet (see peer_ended and broken)."""
    return receive(c, into, room, 0)


cdef ssize_t conn_discard(Worker *w, Conn *c) noexcept nogil:
    """Like conn_recv, but nobody wants the bytes: TCP does not even copy them.

    Other sockets ignore MSG_TRUNC, so there must be room for them (tcp(7)).
    """
    return receive(c, w.scratch, w.scratch_bytes, MSG_TRUNC)


cdef inline ssize_t receive(
    Conn *c, char *into, size_t room, int flags
) noexcept nogil:
    """One recv.

    A short read has emptied the socket: with edge triggering, what comes later
    makes a new edge (epoll(7)), so EAGAIN need not be seen. Not so once the peer
    has sent urgent data, which no HTTP peer does: recv stops short of its mark.
    """
    cdef ssize_t n
    while True:
        n = recv(c.fd, into, room, flags)
        if n > 0:
            if <size_t>n < room and not c.peer_ended and not c.urgent:
                c.readable = 0
            return n
        if n == 0:
            c.readable = 0
            c.peer_ended = FIN_READ
            return 0
        if errno == EINTR:
            continue
        c.readable = 0
        if errno != EAGAIN:
            c.broken = 1
            c.os_error = errno
        return 0


# --- writing ---------------------------------------------------------------

cdef char *cork_room(Worker *w, Conn *c, size_t room) noexcept nogil:
    """Room for `room` bytes (at most CORK_BYTES) about to be sent to `c`."""
    if w.cork_of is not NULL and (
        w.cork_of is not c or w.cork_bytes + room > CORK_BYTES
    ):
        cork_push(w)
    if w.cork_of is NULL:
        w.cork_of = c
        w.cork_bytes = 0
    return w.cork + w.cork_bytes


cdef size_t cork_take_back(Worker *w, Conn *c) noexcept nogil:
    """Take back what is corked for `c`: how many bytes it was."""
    cdef size_t n = w.cork_bytes
    if w.cork_of is not c:
        return 0
    w.cork_of = NULL
    w.cork_bytes = 0
    return n


cdef void cork_add(Worker *w, size_t n) noexcept nogil:
    """`n` bytes were written to where cork_room pointed."""
    w.cork_bytes += n


cdef void conn_write(Worker *w, Conn *c, const char *data, size_t n) noexcept nogil:
    """Send data[0:n] soon: small pieces are corked, so that more can join them."""
    if c.broken or n == 0:
        return
    if n <= CORK_COPY:
        memcpy(cork_room(w, c, n), data, n)
        w.cork_bytes += n
    else:
        conn_send(w, c, data, n)


cdef void conn_send(Worker *w, Conn *c, const char *data, size_t n) noexcept nogil:
    """Send data[0:n] now, behind what is corked, without copying it."""
    cdef iovec parts[2]
    cdef int k = 0
    if w.cork_of is not NULL and w.cork_of is not c:
        cork_push(w)
    if w.cork_of is c and w.cork_bytes:
        parts[k].iov_base = w.cork
        parts[k].iov_len = w.cork_bytes
        k += 1
    parts[k].iov_base = <void *>data
    parts[k].iov_len = n
    k += 1
    w.cork_of = NULL
    w.cork_bytes = 0
    send_parts(w, c, parts, k)


cdef void cork_push(Worker *w) noexcept nogil:
    """Send what is corked."""
    cdef Conn *c = w.cork_of
    cdef iovec part
    if c is NULL:
        return
    part.iov_base = w.cork
    part.iov_len = w.cork_bytes
    w.cork_of = NULL
    w.cork_bytes = 0
    if part.iov_len and c.fd >= 0:
        send_parts(w, c, &part, 1)


cdef void send_parts(Worker *w, Conn *c, iovec *parts, int n) noexcept nogil:
    """Send, in order, behind what is queued; queue what is not taken."""
    cdef msghdr message
    cdef ssize_t sent = 0
    cdef size_t skip
    cdef int i
    c.spoke = 1
    if c.broken:
        return
    if bytes_len(&c.output) == 0:
        while True:
            if n == 1:
                sent = send(c.fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
            else:
                memset(&message, 0, sizeof(message))
                message.msg_iov = parts
                message.msg_iovlen = n
                sent = sendmsg(c.fd, &message, MSG_NOSIGNAL)
            if sent >= 0:
                break
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                fail(w, c, errno)
                return
            sent = 0
            break
    if c.blocked_ms:
        # An earlier answer is still on its way.
        c.window_bytes += sent
    skip = <size_t>sent
    for i in range(n):
        if skip >= parts[i].iov_len:
            skip -= parts[i].iov_len
            continue
        if not bytes_append(
            &c.output, <char *>parts[i].iov_base + skip, parts[i].iov_len - skip
        ):
            fail(w, c, ENOMEM)
            return
        skip = 0
    if bytes_len(&c.output):
        blocked(w, c)


cdef void blocked(Worker *w, Conn *c) noexcept nogil:
    """The socket takes nothing more: how fast a client reads matters from now on.

    An endpoint that does not read is found by the time it has to answer.
    """
    cdef int64_t at
    if c.owner.watches_pace and c.blocked_ms == 0:
        conn_watch_pace(w, c)
        at = conn_pace_at(w, c)
        if c.timer.deadline_ms == 0 or c.timer.deadline_ms > at:
            timer_set(&w.wheel, &c.timer, at)
    # If the socket has room again by now, this makes an edge at once.
    if not c.watches_out and watch(w, c, EPOLL_CTL_MOD, True) < 0:
        fail(w, c, errno)


cdef void fail(Worker *w, Conn *c, int os_error) noexcept nogil:
    """Nothing can be sent any more: the owner hears it from the run queue."""
    c.broken = 1
    c.os_error = os_error
    # An answer may have come before the reset, and be there to be read: an early
    # 413 whose sender closed at once.
    c.readable = 1
    bytes_drop(&c.output)
    conn_queue(w, c)


cdef void conn_flush(Worker *w, Conn *c) noexcept nogil:
    """The socket takes bytes again: send what is queued, then the FIN if due."""
    cdef ssize_t sent
    while bytes_len(&c.output) and not c.broken:
        sent = send(
            c.fd, c.output.data + c.output.at, bytes_len(&c.output), MSG_NOSIGNAL
        )
        if sent >= 0:
            bytes_eat(&c.output, <size_t>sent)
            if c.blocked_ms:
                c.blocked_ms = w.now_ms
                c.window_bytes += sent
        elif errno == EAGAIN:
            return
        elif errno != EINTR:
            fail(w, c, errno)
            return
    c.blocked_ms = 0
    if c.end_when_flushed and not c.broken:
        conn_end(w, c)


cdef void conn_end(Worker *w, Conn *c) noexcept nogil:
    """Send our FIN, behind everything written so far."""
    if w.cork_of is c:
        cork_push(w)
    if c.shut or c.broken or c.fd < 0:
        return
    if bytes_len(&c.output):
        c.end_when_flushed = 1
        return
    c.end_when_flushed = 0
    c.shut = 1
    shutdown(c.fd, SHUT_WR)


# --- the peer's pace -------------------------------------------------------
#
# What the socket takes says little: a kernel that holds a megabyte for a client
# takes nothing for as long as the client needs to read a third of it, and takes
# all of a small answer at once. So what counts is what the peer has acknowledged.

cdef int64_t unacknowledged(const Conn *c) noexcept nogil:
    """Bytes that the kernel holds because the peer has not acknowledged them."""
    cdef int n = 0
    if ioctl(c.fd, SIOCOUTQ, &n) < 0 or n < 0:
        return 0
    return n


cdef bint conn_watch_pace(Worker *w, Conn *c) noexcept nogil:
    """Begin to judge how fast the peer takes what waits for it, if anything does."""
    c.window_bytes = unacknowledged(c)
    if c.window_bytes == 0 and bytes_len(&c.output) == 0:
        return False
    c.blocked_ms = w.now_ms
    c.window_ms = w.now_ms
    c.window_taken = 0
    return True


cdef int64_t conn_pace_at(Worker *w, const Conn *c) noexcept nogil:
    """When conn_pace has to look: of a peer that is judged, blocked_ms > 0."""
    # The window is send_timeout: a shorter one would undo what that allows.
    return w.gateway.send_timeout_ms + (
        c.window_ms if w.gateway.min_send_rate else c.blocked_ms
    )


cdef int conn_pace(Worker *w, Conn *c) noexcept nogil:
    """The verdict: FAULT_NONE, or what the peer is too slow for."""
    cdef int64_t held = unacknowledged(c)
    cdef int64_t taken = c.window_bytes - held
    cdef int64_t window = w.now_ms - c.window_ms
    if held == 0 and bytes_len(&c.output) == 0:
        c.blocked_ms = 0
        return FAULT_NONE
    if taken > c.window_taken:
        c.window_taken = taken
        c.blocked_ms = w.now_ms
    elif w.now_ms - c.blocked_ms >= w.gateway.send_timeout_ms:
        return FAULT_SEND_TIMEOUT
    if w.gateway.min_send_rate and window >= w.gateway.send_timeout_ms:
        if taken * 1000 < w.gateway.min_send_rate * window:
            return FAULT_SEND_TOO_SLOW
        c.window_ms = w.now_ms
        c.window_bytes = held
        c.window_taken = 0
    return FAULT_NONE


# --- leaving ---------------------------------------------------------------

cdef void conn_leave(Worker *w, Conn *c) noexcept nogil:
    """Nothing more is written to `c`, and its FIN would look like an orderly end.

    What was written goes out first: an RST overtakes and destroys it, here and in
    the peer. No event tells when a peer has acknowledged all of it, so the owner
    looks from time to time (by `timer`, set here) until conn_has_left(), which is
    also when the peer takes it too slowly, and then closes.
    """
    if w.cork_of is c:
        cork_push(w)
    c.ends_by_reset = 1
    timer_set(&w.wheel, &c.timer, w.now_ms + LEAVE_LOOK_MS)


cdef bint conn_has_left(Worker *w, Conn *c) noexcept nogil:
    """Whether all is delivered, or will not be any more: time to close."""
    if c.broken or (c.blocked_ms == 0 and not conn_watch_pace(w, c)):
        return True
    return conn_pace(w, c) != FAULT_NONE or c.blocked_ms == 0


# --- the run queue ---------------------------------------------------------

cdef void conn_queue(Worker *w, Conn *c) noexcept nogil:
    """Look at `c` again before sleeping. A stale entry finds nobody: a token."""
    cdef uint32_t size
    cdef uint64_t *grown
    if c.in_run_queue:
        return
    if w.run_end == w.run_size:
        size = w.run_size * 2 if w.run_size else 256
        grown = <uint64_t *>realloc(w.run_queue, size * sizeof(uint64_t))
        if grown is NULL:
            # The socket's own timer, or its next edge, will bring it back.
            return
        w.run_queue = grown
        w.run_size = size
    w.run_queue[w.run_end] = conn_token(c)
    w.run_end += 1
    c.in_run_queue = 1
