"""Idle connections, one list an endpoint, last in first out. Runs in: worker.

The most recently used one is the least likely to be closed by the other end, and
the rest can grow old enough to be given up.
"""

from libc.stdint cimport int64_t

from fastgate.dataplane.balance.policies cimport set_full
from fastgate.dataplane.base.wheel cimport timer_set
from fastgate.dataplane.plan.upstream cimport UpstreamPlan
from fastgate.dataplane.h1.connections cimport LIFE_BUSY, LIFE_IDLE, Pool, h1


cdef H1Origin *pool_take(Worker *w, int endpoint) noexcept nogil:
    """The newest idle connection to `endpoint`, or NULL."""
    cdef H1Origin *u = h1(w).pools[endpoint].newest
    if u is not NULL:
        pool_remove(w, u)
        u.life = LIFE_BUSY
    return u


cdef H1Origin *pool_oldest(Worker *w) noexcept nogil:
    """Of all idle connections, to whatever endpoint, one that would go soonest.

    It stays in its pool; NULL: none is idle. A walk over the endpoints, made when
    descriptors have run out, so that the plain path keeps no list for it.
    """
    cdef H1Origin *oldest = NULL
    cdef H1Origin *u
    cdef int endpoint
    for endpoint in range(w.n_used):
        u = h1(w).pools[endpoint].oldest
        if u is not NULL and (
            oldest is NULL
            or u.conn.timer.deadline_ms < oldest.conn.timer.deadline_ms
        ):
            oldest = u
    return oldest


cdef void pool_put(Worker *w, H1Origin *u) noexcept nogil:
    """Keep `u`, which is between exchanges: pool_idle, or less if its peer says so."""
    cdef Pool *pool = &h1(w).pools[u.endpoint]
    cdef int64_t keep_ms = w.upstream_plans[
        w.endpoints[u.endpoint].upstream
    ].upstream_idle_ms
    if 0 <= u.keep_ms < keep_ms:
        keep_ms = u.keep_ms
    u.life = LIFE_IDLE
    u.origin.reused = 1
    u.pool_prev = NULL
    u.pool_next = pool.newest
    if pool.newest is not NULL:
        pool.newest.pool_prev = u
    else:
        pool.oldest = u
    pool.newest = u
    pool.idle += 1
    note_room(w, pool)
    timer_set(&w.wheel, &u.conn.timer, w.now_ms + keep_ms)


cdef void pool_remove(Worker *w, H1Origin *u) noexcept nogil:
    """Take `u`, which must be idle, out of its list."""
    cdef Pool *pool = &h1(w).pools[u.endpoint]
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
    note_room(w, pool)


cdef void pool_count(Worker *w, int endpoint, int by) noexcept nogil:
    """A connection to `endpoint` was opened (1) or closed (-1)."""
    cdef Pool *pool = &h1(w).pools[endpoint]
    pool.open += by
    note_room(w, pool)


cdef void pools_follow(Worker *w) noexcept nogil:
    """The groups were made anew: whose pools these are, and what fits in them."""
    cdef const UpstreamPlan *plan
    cdef Pool *pool
    cdef int i
    for i in range(w.n_used):
        pool = &h1(w).pools[i]
        pool.upstream = w.endpoints[i].upstream
        pool.member = w.endpoints[i].member
        plan = &w.upstream_plans[pool.upstream]
        # Who is in no group keeps nothing, and nobody asks it for room.
        pool.most_idle = plan.upstream_pool if w.is_member[i] else 0
        pool.most_open = plan.upstream_max if w.is_member[i] else 0
        note_room(w, pool)


cdef inline void note_room(Worker *w, Pool *pool) noexcept nogil:
    """Keep the group's knowledge of who has a connection to give."""
    if pool.most_open:
        set_full(
            &w.groups[pool.upstream], pool.member,
            pool.open >= pool.most_open and pool.idle == 0,
        )
