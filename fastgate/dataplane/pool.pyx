"""Idle connections, one list an endpoint, last in first out. Runs in: worker.

The most recently used one is the least likely to be closed by the other end, and
the rest can grow old enough to be given up.
"""

from fastgate.dataplane.conn cimport (
    LIFE_BUSY, LIFE_IDLE, Pool, Upstream, Worker, conn_queue,
)
from fastgate.dataplane.memory cimport timer_set
from fastgate.dataplane.system cimport EAGAIN, MSG_DONTWAIT, MSG_PEEK, errno, recv


cdef Upstream *pool_take(Worker *w, int endpoint, bint check) noexcept nogil:
    """An idle connection to `endpoint`, or NULL.

    check  ask the kernel whether it still stands: worth a system call for a
           request that could not be sent again if it does not
    """
    cdef Upstream *u
    cdef char peeked
    while True:
        u = w.pools[endpoint].newest
        if u is NULL:
            return NULL
        pool_remove(w, u)
        if check and (
            recv(u.conn.fd, &peeked, 1, MSG_PEEK | MSG_DONTWAIT) >= 0
            or errno != EAGAIN
        ):
            # Its FIN or an unasked answer has come. Its owner finds it without an
            # exchange, and closes it.
            u.life = LIFE_BUSY
            conn_queue(w, &u.conn)
            continue
        u.life = LIFE_BUSY
        return u


cdef void pool_put(Worker *w, Upstream *u) noexcept nogil:
    """Keep `u`, which is between exchanges, for its pool_idle time."""
    cdef Pool *pool = &w.pools[u.endpoint]
    u.life = LIFE_IDLE
    u.reused = 1
    u.pool_prev = NULL
    u.pool_next = pool.newest
    if pool.newest is not NULL:
        pool.newest.pool_prev = u
    else:
        pool.oldest = u
    pool.newest = u
    pool.idle += 1
    timer_set(
        &w.wheel,
        &u.conn.timer,
        w.now_ms + w.upstream_plans[w.endpoint_plans[u.endpoint].upstream].pool_idle_ms,
    )


cdef void pool_remove(Worker *w, Upstream *u) noexcept nogil:
    """Take `u`, which must be idle, out of its list."""
    cdef Pool *pool = &w.pools[u.endpoint]
    if u.pool_prev is not NULL:
        u.pool_prev.pool_next = u.pool_next
    else:
        pool.newest = u.pool_next
    if u.pool_next is not NULL:
        u.pool_next.pool_prev = u.pool_prev
    else:
        pool.oldest = u.pool_prev
    u.pool_next = NULL
    u.pool_prev = NULL
    pool.idle -= 1
