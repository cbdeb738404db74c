"""All that choosing an endpoint needs to know of who asks for one.

Runs in: worker. Embedded in whatever sends something to an endpoint; that embeds it,
so nothing here knows what it is. judge.pyx fills it in, but for what is said below.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef enum:
    MAX_TRIES = 10              # first try, replay, and at most 8 retries

cdef struct Attempt:
    int32_t upstream            # index into the plan; -1: none. Writer: its owner
    int32_t endpoint            # leased; -1: none
    int32_t last_endpoint       # leased last, for the log; -1: none
    int32_t os_error            # errno of the last try; 0: none. Writer: its owner
    int32_t tried[MAX_TRIES]
    uint8_t n_tried
    uint8_t retries             # made and counted
    uint8_t retry_due           # the next try is a retry, not counted yet
    uint8_t replayed            # a stale pooled connection was replaced once
    uint64_t key                # balancing key. Writer: its owner
    int64_t asked_us            # when an endpoint was first asked for; 0: not yet

cdef inline void attempt_init(Attempt *a) noexcept nogil:
    """Nothing chosen, nothing tried; the upstream is not known yet."""
    a.upstream = -1
    a.endpoint = -1
    a.last_endpoint = -1
    a.os_error = 0
    a.n_tried = 0
    a.retries = 0
    a.retry_due = 0
    a.replayed = 0
    a.key = 0
    a.asked_us = 0
