"""Via: which gateways a message passed (RFC 9110 section 7.6.3). Runs in: worker."""

from fastgate.dataplane.http.fields cimport same_name
from fastgate.dataplane.http.message cimport H_VIA, Field


cdef inline bint ends_word(char c) noexcept nogil:
    return c == c" " or c == c"\t" or c == c"," or c == c"("


cdef const char *word_end(const char *at, const char *end) noexcept nogil:
    while at < end and not ends_word(at[0]):
        at += 1
    return at


cdef const char *skip_blanks(const char *at, const char *end) noexcept nogil:
    while at < end and (at[0] == c" " or at[0] == c"\t"):
        at += 1
    return at


cdef bint names(
    const char *at, const char *end, const char *name, size_t n
) noexcept nogil:
    """Whether a member of the list at[:end] was received by `name`.

    A comma inside a comment ends a member too: were comments skipped, a client
    that opens one would hide every hop behind it, ours too. So a comment may at
    worst be taken for a hop, and only by who wrote our name into it.
    """
    cdef const char *by
    while at < end:
        by = skip_blanks(word_end(skip_blanks(at, end), end), end)
        at = word_end(by, end)
        if <size_t>(at - by) == n and same_name(by, name, n):
            return True
        while at < end and at[0] != c",":
            at += 1
        if at < end:
            at += 1
    return False


cdef bint passed_through(const Head *h, const char *name, size_t n) noexcept nogil:
    """Whether some line of Via holds `name` as one who received the message.

    name  n > 0 bytes without blanks and commas, compared whole and in any case
    """
    cdef int i = h.field_of[<int>H_VIA]
    cdef const Field *f
    while 0 <= i < h.n_fields:
        f = &h.fields[i]
        if f.id == H_VIA and names(f.value, f.value + f.value_len, name, n):
            return True
        i += 1
    return False
