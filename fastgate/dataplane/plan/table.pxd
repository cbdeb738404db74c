"""A table of settings: a row says which key fills which field of a struct.

Runs in: every process (the tables are made at import, the master alone uses them).
Values come checked from the configuration model; what a row checks again is that its
field holds the number, and what memory safety needs beyond that.

    cdef GatewayPlan at             # of nobody: the rows take their offsets from it

    cdef list TABLE = [
        row("trace", &at, &at.trace),
        row("max_headers", &at, &at.head.max_fields).within(1, MAX_FIELDS - 1),
        row("underscores", &at, &at.head.underscores).one_of(UNDERSCORES),
    ]
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

ctypedef fused Number:          # what a field may be
    int
    int64_t
    uint8_t
    uint16_t
    uint32_t
    size_t

cdef class Row:
    cdef str key                # of the configuration
    cdef size_t offset          # of the field, in its struct
    cdef size_t width           # of the field, in bytes
    cdef object low             # the least and the most that it may be
    cdef object high
    cdef dict words             # word: number; None: the setting is a number itself

    cdef Row within(self, object low, object high)
    cdef Row one_of(self, dict words)
    cdef int64_t read(self, object value) except? -1
    cdef int64_t checked(self, object number) except? -1

cdef Row row(str key, const void *base, Number *field)
cdef int fill(void *target, dict values, list table) except -1
cdef int number_of(str key, object word, dict words) except? -1
