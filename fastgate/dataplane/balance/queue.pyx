"""Who waits for a connection, by age. Runs in: worker.

One queue an upstream. Age counts from when an endpoint was first asked for, so that
one whose endpoint failed stands where it would stand had it waited. How long one may
wait is its owner's timer.

A connection of this worker that comes free wakes the queue at once. What other
processes write (an endpoint is up, a mark by some worker, the end of its time) makes
no event: while somebody waits, it is looked for.
"""

from libc.stddef cimport size_t

from fastgate.dataplane.balance.attempt cimport WaitQueue
from fastgate.dataplane.base.wheel cimport TIMER_QUEUE, timer_idle, timer_set

cdef enum:
    LOOK_MS = 32                # between looks at what others changed


cdef bint wait(Worker *w, Attempt *a) noexcept nogil:
    """Put `a` into the queue of its upstream; False: that is full."""
    cdef WaitQueue *q = &w.queues[a.upstream]
    cdef Attempt *before = q.last
    if q.n >= w.upstream_plans[a.upstream].queue:
        return False
    while before is not NULL and before.asked_us > a.asked_us:
        # Only a retry is older than who waits already.
        before = before.prev
    a.prev = before
    if before is not NULL:
        a.next = before.next
        before.next = a
    else:
        a.next = q.first
        q.first = a
    if a.next is not NULL:
        a.next.prev = a
    else:
        q.last = a
    q.n += 1
    if q.n == 1:
        q.look.owner = TIMER_QUEUE
        timer_set(&w.wheel, &q.look, w.now_ms + LOOK_MS)
    return True


cdef void wait_no_more(Worker *w, Attempt *a) noexcept nogil:
    """Take `a`, which waits, out of its queue."""
    cdef WaitQueue *q = &w.queues[a.upstream]
    if a.prev is not NULL:
        a.prev.next = a.next
    else:
        q.first = a.next
    if a.next is not NULL:
        a.next.prev = a.prev
    else:
        q.last = a.prev
    q.n -= 1
    if q.n == 0:
        timer_idle(&q.look)


cdef int queue_of(const Worker *w, const Timer *t) noexcept nogil:
    """The upstream whose queue's `look` is `t`."""
    return <int>(
        <WaitQueue *>(<char *>t - <size_t>&(<WaitQueue *>NULL).look) - w.queues
    )


cdef void look_again(Worker *w, int upstream) noexcept nogil:
    """Its queue was looked at: again soon, if somebody still waits."""
    cdef WaitQueue *q = &w.queues[upstream]
    if q.n:
        timer_set(&w.wheel, &q.look, w.now_ms + LOOK_MS)
