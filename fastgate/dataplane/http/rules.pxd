"""Header rules of a route: what SET, ADD and REMOVE do to the fields of a head.

Runs in: worker. No protocol's: who writes the head asks here, field by field.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    MAX_RULES = 64          # of one Rules: one bit each while a head is written

cdef enum RuleOp:
    RULE_SET = 0            # replace all fields of that name by one
    RULE_ADD
    RULE_REMOVE

cdef struct Rule:
    uint8_t op              # a RuleOp
    uint8_t id              # a HeaderId
    uint16_t name_len
    uint32_t value_len
    const char *name
    const char *value

cdef struct Rules:
    int n
    Rule *rules             # [n], borrowed from the plan
    uint8_t dashes          # a name means the ones with "_" for "-" as well

cdef enum:                  # what becomes of a field, where no SET takes its place
    FIELD_PASSES = -1
    FIELD_GOES = -2

cdef int rule_of(
    const Rules *rules, uint64_t *placed, uint32_t id, const char *name, size_t n
) noexcept nogil
cdef int next_added(
    const Rules *rules, int i, uint64_t placed, uint64_t protected
) noexcept nogil
cdef uint64_t ids_of(const Rules *rules) noexcept nogil
