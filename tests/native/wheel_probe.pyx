"""The timer wheel, opened to pytest.

Runs in: tests only. Arguments are checked here, for the room itself trusts its
callers.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from fastgate.dataplane.base.wheel cimport (
    WHEEL_SLOTS,
    WHEEL_TICK_SHIFT,
    timer_cancel,
    timer_idle,
    timer_set,
    wheel_arm,
    wheel_close,
    wheel_expired,
    wheel_init,
    wheel_kick,
)

TICK_MS = 1 << WHEEL_TICK_SHIFT
TURN_MS = WHEEL_SLOTS << WHEEL_TICK_SHIFT


cdef class WheelProbe:
    """A wheel and `count` timers, at a time of the caller's."""

    def __cinit__(self, int count, int64_t now_ms):
        self.count = count
        self.timers = <Numbered *>calloc(count, sizeof(Numbered))
        self.wheel = <Wheel *>calloc(1, sizeof(Wheel))
        if self.timers is NULL or self.wheel is NULL:
            raise MemoryError
        for i in range(count):
            self.timers[i].number = i
        wheel_init(self.wheel, now_ms)

    def __dealloc__(self):
        if self.wheel is not NULL:
            wheel_close(self.wheel)
        free(self.wheel)
        free(self.timers)

    cdef Timer *_timer(self, int number) except NULL:
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
        timer_set(self.wheel, self._timer(number), deadline_ms)

    def idle(self, int number):
        timer_idle(self._timer(number))

    def cancel(self, int number):
        timer_cancel(self.wheel, self._timer(number))

    def kick(self, int64_t now_ms):
        wheel_kick(self.wheel, now_ms)

    def serve(self, int64_t now_ms):
        """The numbers of all timers that have expired; arms the timerfd."""
        cdef Timer *t
        out = []
        while True:
            t = wheel_expired(self.wheel, now_ms)
            if t is NULL:
                break
            out.append((<Numbered *>t).number)
        wheel_arm(self.wheel)
        return out
