"""Header rules of a route: what SET, ADD and REMOVE do to the fields of a head.

Runs in: worker. No protocol's: who writes the head asks here, field by field.
"""

from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport id_bit


cdef bint same_but_dashes(const char *a, const char *b, size_t n) noexcept nogil:
    """Whether an origin that reads "_" as "-" takes two names for the same."""
    cdef size_t i
    for i in range(n):
        if not same_name(a + i, b + i, 1) and not (
            (a[i] == c"-" or a[i] == c"_") and (b[i] == c"-" or b[i] == c"_")
        ):
            return False
    return True


cdef inline bint rule_names(
    const Rules *rules, int i, uint32_t id, const char *name, size_t n
) noexcept nogil:
    cdef const Rule *rule = &rules.rules[i]
    if rule.id != id or rule.name_len != n:
        return False
    if rules.dashes:
        return same_but_dashes(rule.name, name, n)
    return same_name(rule.name, name, n)


cdef int last_word(
    const Rules *rules, uint32_t id, const char *name, size_t n, int after
) noexcept nogil:
    """Index of the last SET or REMOVE of this name behind `after`, or -1."""
    cdef int i = rules.n - 1
    while i > after:
        if rules.rules[i].op != RULE_ADD and rule_names(rules, i, id, name, n):
            return i
        i -= 1
    return -1


cdef int rule_of(
    const Rules *rules, uint64_t *placed, uint32_t id, const char *name, size_t n
) noexcept nogil:
    """What becomes of a field of this name.

    placed  a bit for each SET that stands in the head already; set for the one told
    returns FIELD_PASSES, FIELD_GOES, or the index of the SET that takes its place
    """
    cdef int i = last_word(rules, id, name, n, -1)
    if i < 0:
        return FIELD_PASSES
    if rules.rules[i].op == RULE_SET and not placed[0] >> i & 1:
        placed[0] |= <uint64_t>1 << i
        return i
    return FIELD_GOES


cdef int next_added(
    const Rules *rules, int i, uint64_t placed, uint64_t protected
) noexcept nogil:
    """Index of the first rule from `i` on that adds a field at the end, or -1.

    That is every ADD, and a SET that met no field, if no later word undoes it and
    its HeaderId is not `protected`.
    """
    cdef const Rule *rule
    while i < rules.n:
        rule = &rules.rules[i]
        if (
            rule.op != RULE_REMOVE
            and not placed >> i & 1
            and not protected >> rule.id & 1
            and last_word(rules, rule.id, rule.name, rule.name_len, i) < 0
        ):
            return i
        i += 1
    return -1


cdef uint64_t ids_of(const Rules *rules) noexcept nogil:
    """A bit for each HeaderId that some rule names."""
    cdef uint64_t ids = 0
    cdef int i
    for i in range(rules.n):
        ids |= id_bit(rules.rules[i].id)
    return ids
