"""Slabs, byte queues and the timer wheel. Runs in: worker.

The wheel is hashed (Varghese and Lauck 1987, scheme 6): one slot a tick, a
bitmap of the occupied ones, and a timerfd armed for the next of them, so that a
worker with nothing to wait for is never woken.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

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

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from *:
    int __builtin_ctzll(unsigned long long x) noexcept nogil

# A queue keeps this much once it is empty; anything larger goes back to malloc.
cdef enum:
    BYTES_MIN = 512
    MAX_BYTES = 0x7FFFFFFF


# --- slabs -----------------------------------------------------------------

cdef int slab_init(Slab *s, size_t object_bytes) except -1:
    """Objects of `object_bytes`, which must start with a SlabItem."""
    memset(s, 0, sizeof(Slab))
    # Whole cache lines: two objects never share one.
    s.object_bytes = (object_bytes + 63) & ~<size_t>63
    s.chunks = <char **>calloc(SLAB_MAX_CHUNKS, sizeof(char *))
    if s.chunks is NULL:
        raise MemoryError("slab")
    return 0


cdef void slab_free(Slab *s) noexcept:
    cdef uint32_t i
    if s.chunks is not NULL:
        for i in range(SLAB_MAX_CHUNKS):
            free(s.chunks[i])
        free(s.chunks)
    memset(s, 0, sizeof(Slab))


cdef void *slab_take(Slab *s) noexcept nogil:
    """An object whose fields after the SlabItem are those of its last life.

    A new object is all zero bytes. NULL: out of memory, or at the limit.
    """
    cdef SlabItem *item
    cdef uint32_t chunk
    if s.free_head:
        item = slab_at(s, s.free_head - 1)
        s.free_head = item.next_free
    else:
        chunk = s.made // SLAB_CHUNK
        if chunk >= SLAB_MAX_CHUNKS:
            return NULL
        if s.chunks[chunk] is NULL:
            # malloc's 16 would have every object begin in its neighbour's last line.
            s.chunks[chunk] = <char *>aligned_alloc(64, SLAB_CHUNK * s.object_bytes)
            if s.chunks[chunk] is NULL:
                return NULL
            memset(s.chunks[chunk], 0, SLAB_CHUNK * s.object_bytes)
        item = slab_at(s, s.made)
        item.index = s.made
        s.made += 1
    item.is_live = 1
    s.live += 1
    return item


cdef void slab_give(Slab *s, void *object) noexcept nogil:
    cdef SlabItem *item = <SlabItem *>object
    item.generation = (item.generation + 1) & GENERATION_MASK
    item.is_live = 0
    item.next_free = s.free_head
    s.free_head = item.index + 1
    s.live -= 1


# --- byte queues -----------------------------------------------------------

cdef bint bytes_reserve(Bytes *b, size_t n) noexcept nogil:
    """Make room for `n` more bytes after `end`. False: out of memory."""
    cdef size_t used = b.end - b.at
    cdef size_t wanted = used + n
    cdef size_t size
    cdef char *data
    if b.size - b.end >= n:
        return True
    if n > MAX_BYTES - used:
        return False
    if b.at and b.size >= wanted:
        memmove(b.data, b.data + b.at, used)
        b.at = 0
        b.end = <uint32_t>used
        return True
    size = b.size if b.size else BYTES_MIN
    while size < wanted:
        size *= 2
    if b.at:
        memmove(b.data, b.data + b.at, used)
        b.at = 0
        b.end = <uint32_t>used
    data = <char *>realloc(b.data, size)
    if data is NULL:
        return False
    b.data = data
    b.size = <uint32_t>size
    return True


cdef bint bytes_append(Bytes *b, const char *data, size_t n) noexcept nogil:
    """Queue a copy of data[0:n]. False: out of memory, nothing queued."""
    if n == 0:
        return True
    if not bytes_reserve(b, n):
        return False
    memcpy(b.data + b.end, data, n)
    b.end += <uint32_t>n
    return True


cdef void bytes_eat(Bytes *b, size_t n) noexcept nogil:
    """Forget the first `n` bytes; an empty queue gives its memory back."""
    b.at += <uint32_t>n
    if b.at >= b.end:
        bytes_drop(b)


cdef void bytes_drop(Bytes *b) noexcept nogil:
    free(b.data)
    b.data = NULL
    b.at = 0
    b.end = 0
    b.size = 0


# --- timers ----------------------------------------------------------------

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
