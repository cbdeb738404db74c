"""A connection to an endpoint: dialled, bound to an exchange, closed.

Runs in: worker. What comes over it is origin's.
"""

from fastgate.dataplane.base.atomics cimport fg_bump32
from fastgate.dataplane.base.faults cimport (
    FAULT_CONNECT, FAULT_LOCAL_CONNECT, FAULT_NONE, FAULT_OVERLOAD, FAULT_UPSTREAM_BUSY,
)
from fastgate.dataplane.base.memory cimport slab_give, slab_take
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
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    close,
    connect,
    errno,
    setsockopt,
    sockaddr,
    socket,
)
from fastgate.dataplane.base.wheel cimport timer_set
from fastgate.dataplane.conn.conn cimport KIND_ORIGIN, conn_close, conn_open
from fastgate.dataplane.balance.endpoint cimport Endpoint
from fastgate.dataplane.h1.connections cimport (
    LIFE_BUSY, LIFE_CONNECTING, LIFE_IDLE, h1,
)
from fastgate.dataplane.h1.pool cimport pool_count, pool_oldest, pool_remove
from fastgate.dataplane.h1.reader cimport reader_drop, reader_init
from fastgate.dataplane.shared.slots cimport count_connection


cdef int dial(
    Worker *w, Exchange *x, int endpoint, const Owner *owner, const OriginOps *ops,
    bint *ready
) noexcept nogil:
    """Become x.origin: a new connection, whose Conn and Origin have these tables.

    ready   False: it is on its way, and the loop tells `owner` when it stands
    returns FAULT_NONE, or why it could not be opened
    """
    cdef const Endpoint *at = &w.endpoints[endpoint]
    cdef int one = 1
    cdef int fd
    cdef int family = at.socket_address.ss_family
    cdef bint pending = False
    cdef H1Origin *u
    x.attempt.os_error = 0
    if at.socket_address_len == 0:
        # Its name stands for no address: nothing to be found there.
        return FAULT_CONNECT
    fd = open_socket(w, family)
    if fd < 0:
        return refusal(x, errno, family)
    if family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    if connect(fd, <const sockaddr *>&at.socket_address, at.socket_address_len) < 0:
        if errno != EINPROGRESS:
            x.attempt.os_error = errno
            close(fd)
            return refusal(x, x.attempt.os_error, family)
        pending = True
    u = <H1Origin *>slab_take(&h1(w).origins)
    if u is NULL:
        close(fd)
        return refusal(x, ENOMEM, family)
    if conn_open(w, &u.conn, fd, KIND_ORIGIN, owner, True) < 0:
        x.attempt.os_error = errno
        close(fd)
        u.conn.fd = -1
        slab_give(&h1(w).origins, u)
        return refusal(x, x.attempt.os_error, family)
    u.origin.ops = ops
    u.origin.exchange = NULL
    u.pool_next = NULL
    u.pool_prev = NULL
    u.endpoint = endpoint
    u.life = LIFE_CONNECTING if pending else LIFE_BUSY
    u.origin.reused = 0
    u.keep_ms = -1
    reader_init(&u.reader, True, plan_of(w, u).lenient)
    pool_count(w, endpoint, 1)
    fg_bump32(&w.row.upstream_connections, 1)
    count_connection(w.shared, w.slot, endpoint)
    bind(u, x)
    if pending:
        ready[0] = False
        timer_set(&w.wheel, &u.conn.timer, w.now_ms + plan_of(w, u).connect_timeout_ms)
    return FAULT_NONE


cdef int open_socket(Worker *w, int family) noexcept nogil:
    """A socket, for which an idle connection to anywhere gives its descriptor."""
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0 and (errno == EMFILE or errno == ENFILE) and origin_retire(w):
        fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    return fd


cdef bint origin_retire(Worker *w) noexcept nogil:
    """Close an idle connection, to anywhere, for its descriptor. False: none is."""
    cdef H1Origin *idle = pool_oldest(w)
    if idle is NULL:
        return False
    origin_close(w, idle, False)
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


cdef void origin_close(Worker *w, H1Origin *u, bint reset) noexcept nogil:
    """Close `u`, whatever it was doing. Its exchange hears nothing of it."""
    if u.life == LIFE_IDLE:
        pool_remove(w, u)
    if u.origin.exchange is not NULL:
        u.origin.exchange.origin = NULL
        u.origin.exchange = NULL
    conn_close(w, &u.conn, reset)
    reader_drop(&u.reader)
    pool_count(w, u.endpoint, -1)
    fg_bump32(&w.row.upstream_connections, -1)
    slab_give(&h1(w).origins, u)
