"""The timer wheel. Runs in: worker.

It is hashed (Varghese and Lauck 1987, scheme 6): one slot a tick, a bitmap of the
occupied ones, and a timerfd armed for the next of them, so that a worker with
nothing to wait for is never woken.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from fastgate.dataplane.base.system cimport (
    CLOCK_MONOTONIC,
    TFD_CLOEXEC,
    TFD_NONBLOCK,
    TFD_TIMER_ABSTIME,
    close,
    itimerspec,
    timerfd_create,
    timerfd_settime,
)

cdef extern from *:
    int __builtin_ctzll(unsigned long long x) noexcept nogil


cdef int wheel_init(Wheel *w, int64_t now_ms) except -1:
    cdef int i
    memset(w, 0, sizeof(Wheel))
    for i in range(WHEEL_SLOTS):
        w.slots[i].next = &w.slots[i]
        w.slots[i].prev = &w.slots[i]
    w.tick = now_ms >> WHEEL_TICK_SHIFT
    w.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    if w.fd < 0:
        raise OSError("timerfd_create failed")
    return 0


cdef void wheel_close(Wheel *w) noexcept nogil:
    if w.fd >= 0:
        close(w.fd)
        w.fd = -1


cdef void unlink(Wheel *w, Timer *t) noexcept nogil:
    cdef uint32_t slot = <uint32_t>(t.linked_tick & (WHEEL_SLOTS - 1))
    t.next.prev = t.prev
    t.prev.next = t.next
    t.next = NULL
    t.prev = NULL
    if w.slots[slot].next is &w.slots[slot]:
        w.occupied[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))


cdef void timer_link(Wheel *w, Timer *t) noexcept nogil:
    """Link `t` at its deadline, or one turn of the wheel ahead if that is later."""
    # One tick later than the deadline's own: a timer is never early.
    cdef int64_t tick = (t.deadline_ms >> WHEEL_TICK_SHIFT) + 1
    cdef uint32_t slot
    cdef Timer *head
    if t.next is not NULL:
        unlink(w, t)
    if tick <= w.tick:
        tick = w.tick + 1
    elif tick >= w.tick + WHEEL_SLOTS:
        tick = w.tick + WHEEL_SLOTS - 1
    t.linked_tick = tick
    slot = <uint32_t>(tick & (WHEEL_SLOTS - 1))
    head = &w.slots[slot]
    t.next = head.next
    t.prev = head
    head.next.prev = t
    head.next = t
    w.occupied[slot >> 6] |= <uint64_t>1 << (slot & 63)
    if w.armed_ms == 0 or (tick << WHEEL_TICK_SHIFT) < w.armed_ms:
        arm_at(w, tick << WHEEL_TICK_SHIFT)


cdef void timer_cancel(Wheel *w, Timer *t) noexcept nogil:
    t.deadline_ms = 0
    if t.next is not NULL:
        unlink(w, t)


cdef Timer *wheel_expired(Wheel *w, int64_t now_ms) noexcept nogil:
    """Take one timer whose deadline has passed off the wheel, or NULL.

    Called until it returns NULL. Timers whose deadline moved later meanwhile are
    linked anew here; those that were disarmed are just dropped.
    """
    cdef int64_t now_tick = now_ms >> WHEEL_TICK_SHIFT
    cdef int64_t next_tick
    cdef Timer *head
    cdef Timer *t
    if now_tick - w.tick > WHEEL_SLOTS:
        # Asleep for over a turn (a suspended machine): every slot is due once.
        w.tick = now_tick - WHEEL_SLOTS
    while True:
        head = &w.slots[w.tick & (WHEEL_SLOTS - 1)]
        while head.next is not head:
            t = head.next
            unlink(w, t)
            if t.deadline_ms == 0:
                continue
            if t.deadline_ms > now_ms:
                timer_link(w, t)
                continue
            t.deadline_ms = 0
            return t
        if w.tick >= now_tick:
            return NULL
        next_tick = next_occupied(w, w.tick + 1)
        if next_tick < 0 or next_tick > now_tick:
            w.tick = now_tick
            return NULL
        w.tick = next_tick


cdef int64_t next_occupied(Wheel *w, int64_t tick) noexcept nogil:
    """The first occupied tick at or after `tick`, within one turn; or -1."""
    cdef uint32_t slot = <uint32_t>(tick & (WHEEL_SLOTS - 1))
    cdef uint32_t word = slot >> 6
    cdef uint64_t bits = w.occupied[word] >> (slot & 63)
    cdef int _word
    if bits:
        return tick + __builtin_ctzll(bits)
    tick += 64 - (slot & 63)
    for _word in range(WHEEL_WORDS):
        word = (word + 1) & (WHEEL_WORDS - 1)
        bits = w.occupied[word]
        if bits:
            return tick + __builtin_ctzll(bits)
        tick += 64
    return -1


cdef void wheel_arm(Wheel *w) noexcept nogil:
    """After serving expired timers: set the timerfd to the next occupied tick."""
    cdef int64_t tick = next_occupied(w, w.tick + 1)
    if tick < 0:
        w.armed_ms = 0
    else:
        arm_at(w, tick << WHEEL_TICK_SHIFT)


cdef void wheel_kick(Wheel *w, int64_t now_ms) noexcept nogil:
    """Make the timerfd readable at once, whatever it is set to."""
    arm_at(w, now_ms)


cdef void arm_at(Wheel *w, int64_t at_ms) noexcept nogil:
    cdef itimerspec spec
    memset(&spec, 0, sizeof(spec))
    spec.it_value.tv_sec = at_ms // 1000
    spec.it_value.tv_nsec = (at_ms % 1000) * 1000000
    timerfd_settime(w.fd, TFD_TIMER_ABSTIME, &spec, NULL)
    w.armed_ms = at_ms
