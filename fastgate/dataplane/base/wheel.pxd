"""The timer wheel: all timers of one worker, on one timerfd. Runs in: worker.

A timer is never early, and late by two ticks at most once the worker is awake.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef enum:
    WHEEL_TICK_SHIFT = 4        # one tick is 16 ms
    WHEEL_SLOTS = 4096          # 65 s around
    WHEEL_WORDS = 64            # WHEEL_SLOTS / 64

cdef enum TimerOwner:           # in what a Timer is embedded
    TIMER_CONN = 0
    TIMER_EXCHANGE
    TIMER_LISTENER
    TIMER_QUEUE

cdef struct Timer:
    Timer *next                 # NULL: not linked
    Timer *prev
    int64_t deadline_ms         # 0: not armed
    int64_t linked_tick         # the tick it will be looked at
    int32_t owner               # a TimerOwner

cdef struct Wheel:
    int64_t tick                # every tick up to this one has been served
    int64_t armed_ms            # what the timerfd is set to; 0: not set
    int fd                      # the timerfd
    uint64_t occupied[WHEEL_WORDS]
    Timer slots[WHEEL_SLOTS]    # heads of circular lists

cdef int wheel_init(Wheel *w, int64_t now_ms) except -1
cdef void wheel_close(Wheel *w) noexcept nogil
cdef void timer_link(Wheel *w, Timer *t) noexcept nogil
cdef void timer_cancel(Wheel *w, Timer *t) noexcept nogil
cdef Timer *wheel_expired(Wheel *w, int64_t now_ms) noexcept nogil
cdef void wheel_arm(Wheel *w) noexcept nogil
cdef void wheel_kick(Wheel *w, int64_t now_ms) noexcept nogil

cdef inline void timer_set(Wheel *w, Timer *t, int64_t deadline_ms) noexcept nogil:
    """Arm `t`, or move it.

    A deadline that only moves later costs one store: the timer stays where it is
    linked, and is linked anew when it is looked at there. That is every step of
    a keep-alive connection that goes well.
    """
    t.deadline_ms = deadline_ms
    if t.next is NULL or (deadline_ms >> WHEEL_TICK_SHIFT) + 1 < t.linked_tick:
        timer_link(w, t)

cdef inline void timer_idle(Timer *t) noexcept nogil:
    """Disarm `t` but leave it linked: the cheap way, when it will be set again."""
    t.deadline_ms = 0
