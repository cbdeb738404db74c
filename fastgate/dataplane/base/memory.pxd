"""Slabs and byte queues: the memory of connections and exchanges.

Runs in: worker.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

# --- slabs -----------------------------------------------------------------
#
# A slab hands out objects of one size from chunks that are never moved and
# never given back; an object is named by (index, generation). The generation
# grows at each release, so that an event made for an object's former life,
# still in the kernel's batch, finds nobody at home.

cdef enum:
    SLAB_CHUNK = 128            # objects in a chunk
    SLAB_MAX_CHUNKS = 8192      # 1,048,576 objects
    GENERATION_MASK = 0x3FFFFFFF    # 30 bits, so that it fits an epoll token

cdef struct SlabItem:           # every object starts with this
    uint32_t index
    uint32_t generation
    uint32_t next_free          # index + 1 of the next free object; 0: none
    uint32_t is_live

cdef struct Slab:
    size_t object_bytes
    uint32_t made               # objects ever made: those below are valid indexes
    uint32_t live
    uint32_t free_head          # index + 1; 0: none
    char **chunks               # [SLAB_MAX_CHUNKS]

cdef int slab_init(Slab *s, size_t object_bytes) except -1
cdef void slab_free(Slab *s) noexcept
cdef void *slab_take(Slab *s) noexcept nogil
cdef void slab_give(Slab *s, void *item) noexcept nogil

cdef inline SlabItem *slab_at(Slab *s, uint32_t index) noexcept nogil:
    """The object at `index`, which must be below `s.made`."""
    return <SlabItem *>(
        s.chunks[index // SLAB_CHUNK] + (index % SLAB_CHUNK) * s.object_bytes
    )

cdef inline void *slab_find(
    Slab *s, uint32_t index, uint32_t generation
) noexcept nogil:
    """The object, or NULL when it is not what it was any more."""
    cdef SlabItem *item
    if index >= s.made:
        return NULL
    item = slab_at(s, index)
    if not item.is_live or item.generation != generation:
        return NULL
    return item

# --- byte queues -----------------------------------------------------------

cdef struct Bytes:              # data[at:end] is queued; owns `data`
    char *data
    uint32_t at
    uint32_t end
    uint32_t size

cdef inline uint32_t bytes_len(const Bytes *b) noexcept nogil:
    return b.end - b.at

cdef inline Bytes bytes_take(Bytes *b) noexcept nogil:
    """What `b` held, the caller's from here on; `b` is empty."""
    cdef Bytes taken = b[0]
    b.data = NULL
    b.at = b.end = b.size = 0
    return taken

cdef bint bytes_reserve(Bytes *b, size_t n) noexcept nogil
cdef bint bytes_append(Bytes *b, const char *data, size_t n) noexcept nogil
cdef void bytes_eat(Bytes *b, size_t n) noexcept nogil
cdef void bytes_drop(Bytes *b) noexcept nogil
