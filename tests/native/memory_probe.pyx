"""Slabs, byte queues and the timer wheel, opened to pytest.

Runs in: tests only. Arguments are checked here, for the rooms themselves trust
their callers.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from fastgate.dataplane.base cimport memory

TICK_MS = 1 << memory.WHEEL_TICK_SHIFT
TURN_MS = memory.WHEEL_SLOTS << memory.WHEEL_TICK_SHIFT
CHUNK = memory.SLAB_CHUNK


cdef class Slab:
    """Objects named by (index, generation)."""

    def __cinit__(self):
        memory.slab_init(&self.slab, sizeof(Thing))

    def __dealloc__(self):
        memory.slab_free(&self.slab)

    @property
    def live(self):
        return self.slab.live

    def take(self, int64_t value):
        """The (index, generation) and the address of a new object."""
        cdef Thing *thing = <Thing *>memory.slab_take(&self.slab)
        if thing is NULL:
            raise MemoryError
        thing.value = value
        return thing.item.index, thing.item.generation, <uint64_t>thing

    def find(self, uint32_t index, uint32_t generation):
        """The object's value, or None."""
        cdef Thing *thing = <Thing *>memory.slab_find(&self.slab, index, generation)
        return None if thing is NULL else thing.value

    def give(self, uint32_t index, uint32_t generation):
        cdef void *thing = memory.slab_find(&self.slab, index, generation)
        if thing is NULL:
            raise KeyError((index, generation))
        memory.slab_give(&self.slab, thing)


cdef class Bytes:
    """A byte queue."""

    def __dealloc__(self):
        memory.bytes_drop(&self.queue)

    def append(self, bytes data):
        cdef const char *at = data
        if not memory.bytes_append(&self.queue, at, len(data)):
            raise MemoryError

    def eat(self, size_t n):
        if n > memory.bytes_len(&self.queue):
            raise IndexError(n)
        memory.bytes_eat(&self.queue, n)

    def can_reserve(self, size_t n):
        return memory.bytes_reserve(&self.queue, n)

    @property
    def content(self):
        return self.queue.data[self.queue.at:self.queue.end] if self.size else b""

    @property
    def size(self):
        return self.queue.size


cdef class Wheel:
    """A wheel and `count` timers, at a time of the caller's."""

    def __cinit__(self, int count, int64_t now_ms):
        self.count = count
        self.timers = <Numbered *>calloc(count, sizeof(Numbered))
        self.wheel = <memory.Wheel *>calloc(1, sizeof(memory.Wheel))
        if self.timers is NULL or self.wheel is NULL:
            raise MemoryError
        for i in range(count):
            self.timers[i].number = i
        memory.wheel_init(self.wheel, now_ms)

    def __dealloc__(self):
        if self.wheel is not NULL:
            memory.wheel_close(self.wheel)
        free(self.wheel)
        free(self.timers)

    cdef memory.Timer *_timer(self, int number) except NULL:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return &self.timers[number].timer

    @property
    def fd(self):
        return self.wheel.fd

    @property
    def armed_ms(self):
        """When the timerfd goes off; 0: never."""
        return self.wheel.armed_ms

    def set(self, int number, int64_t deadline_ms):
        memory.timer_set(self.wheel, self._timer(number), deadline_ms)

    def idle(self, int number):
        memory.timer_idle(self._timer(number))

    def cancel(self, int number):
        memory.timer_cancel(self.wheel, self._timer(number))

    def kick(self, int64_t now_ms):
        memory.wheel_kick(self.wheel, now_ms)

    def serve(self, int64_t now_ms):
        """The numbers of all timers that have expired; arms the timerfd."""
        cdef memory.Timer *t
        out = []
        while True:
            t = memory.wheel_expired(self.wheel, now_ms)
            if t is NULL:
                break
            out.append((<Numbered *>t).number)
        memory.wheel_arm(self.wheel)
        return out
