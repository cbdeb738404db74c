"""Exchanges that wait for a connection, by age. Runs in: worker.

One queue an upstream. Age counts from when an exchange first asked for an endpoint,
so that one whose endpoint failed stands where it would stand had it waited.

A connection of this worker that comes free wakes the queue at once. What other
processes write (an endpoint is up, a mark by some worker, the end of its time) makes
no event: while somebody waits, it is looked for.
"""

from libc.stddef cimport size_t

from fastgate.dataplane.base.wheel cimport (
    TIMER_QUEUE, timer_cancel, timer_idle, timer_set,
)
from fastgate.dataplane.conn.conn cimport WaitQueue
from fastgate.dataplane.plan.plan cimport UpstreamPlan

cdef enum:
    LOOK_MS = 32                # between looks at what others changed


cdef bint wait(Worker *w, Exchange *x) noexcept nogil:
    """Put `x` into the queue of its upstream, for queue_timeout; False: it is full."""
    cdef WaitQueue *q = &w.queues[x.attempt.upstream]
    cdef const UpstreamPlan *plan = &w.upstream_plans[x.attempt.upstream]
    cdef Exchange *before = q.last
    if q.n >= plan.queue:
        return False
    while before is not NULL and before.attempt.asked_us > x.attempt.asked_us:
        # Only a retry is older than who waits already.
        before = before.queue_prev
    x.queue_prev = before
    if before is not NULL:
        x.queue_next = before.queue_next
        before.queue_next = x
    else:
        x.queue_next = q.first
        q.first = x
    if x.queue_next is not NULL:
        x.queue_next.queue_prev = x
    else:
        q.last = x
    q.n += 1
    if q.n == 1:
        q.look.owner = TIMER_QUEUE
        timer_set(&w.wheel, &q.look, w.now_ms + LOOK_MS)
    timer_set(&w.wheel, &x.timer, w.now_ms + plan.queue_timeout_ms)
    return True


cdef void wait_no_more(Worker *w, Exchange *x) noexcept nogil:
    """Take `x`, which waits, out of its queue."""
    cdef WaitQueue *q = &w.queues[x.attempt.upstream]
    if x.queue_prev is not NULL:
        x.queue_prev.queue_next = x.queue_next
    else:
        q.first = x.queue_next
    if x.queue_next is not NULL:
        x.queue_next.queue_prev = x.queue_prev
    else:
        q.last = x.queue_prev
    q.n -= 1
    if q.n == 0:
        timer_idle(&q.look)
    timer_cancel(&w.wheel, &x.timer)


cdef void waiting_timer(Worker *w, Timer *t) noexcept nogil:
    """`t` is the `look` of a queue: wake it, and look again if it is not empty yet."""
    cdef WaitQueue *q = <WaitQueue *>(<char *>t - <size_t>&(<WaitQueue *>NULL).look)
    w.events.upstream_room(w, <int>(q - w.queues))
    if q.n:
        timer_set(&w.wheel, t, w.now_ms + LOOK_MS)
