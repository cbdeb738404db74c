"""Slabs and byte queues, opened to pytest.

Runs in: tests only. Arguments are checked here, for the rooms themselves trust
their callers.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgate.dataplane.base cimport memory

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
