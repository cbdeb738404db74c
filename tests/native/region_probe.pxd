"""A table that the declaration does not have: what a room that adds one writes.

Runs in: tests only.
"""

from libc.stdint cimport int64_t

from fastgate.dataplane.shared.region cimport TABLE_KINDS, Mapping, Shared

cdef enum:
    TABLE_MARKS = TABLE_KINDS

cdef struct Mark:               # 48 bytes
    int64_t until_ms
    int64_t words[5]

cdef inline Mark *mark_at(Shared *s, int endpoint) noexcept nogil:
    return <Mark *>s.tables[TABLE_MARKS] + endpoint

cdef class Marked(Mapping):
    pass
