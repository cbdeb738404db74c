"""All that choosing an endpoint needs to know of who asks for one, and who waits.

Runs in: worker. An exchange embeds an Attempt, as whatever else sends something to an
endpoint can: the rooms of balance know no more of it. key.pyx makes the balancing key,
judge.pyx chooses and judges, queue.pyx keeps those who wait, retry.pyx says who is
sent to another endpoint.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from fastgate.dataplane.base.wheel cimport Timer

cdef enum:
    MAX_TRIES = 10              # first try, replay, and at most 8 retries

cdef enum Due:                  # is the next try a retry?
    DUE_NOT = 0
    DUE_UNPAID                  # yes, and the budget is asked when it is made
    DUE_PAID                    # yes, and the budget has paid for it

cdef struct Attempt:
    Attempt *next               # in a WaitQueue: who asked for an endpoint later
    Attempt *prev
    int32_t upstream            # index into the plan; -1: none
    int32_t endpoint            # leased; -1: none
    int32_t last_endpoint       # leased last, for the log; -1: none
    int32_t os_error            # errno that ended the last try; 0: none
    int32_t tried[MAX_TRIES]
    uint8_t n_tried
    uint8_t retries             # made and counted
    uint8_t retry_due           # a Due; the next try is not counted yet
    uint8_t verdict             # the Fault that the answer is already; 0: none
    uint8_t replayed            # a stale pooled connection was replaced once
    uint64_t key                # balancing key
    int64_t asked_us            # when an endpoint was first asked for; 0: not yet

cdef struct WaitQueue:          # of one upstream, who asked first stands first
    Attempt *first
    Attempt *last
    int32_t n
    Timer look                  # while somebody waits: see queue.pyx

cdef inline void attempt_init(Attempt *a) noexcept nogil:
    """Nothing is chosen, nothing tried; the upstream is not known yet."""
    a.next = NULL
    a.prev = NULL
    a.upstream = -1
    a.endpoint = -1
    a.last_endpoint = -1
    a.os_error = 0
    a.n_tried = 0
    a.retries = 0
    a.retry_due = DUE_NOT
    a.verdict = 0
    a.replayed = 0
    a.key = 0
    a.asked_us = 0

cdef inline void attempt_try(Attempt *a, int endpoint) noexcept nogil:
    """`endpoint`, as chosen and leased, is tried next."""
    a.endpoint = endpoint
    a.last_endpoint = endpoint
    a.verdict = 0
    a.tried[a.n_tried] = endpoint
    a.n_tried += 1

cdef inline void attempt_replay(Attempt *a) noexcept nogil:
    """The last try was none: its endpoint may be tried again, once."""
    a.replayed = 1
    a.n_tried -= 1
