"""Slabs and byte queues. Runs in: worker."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

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
