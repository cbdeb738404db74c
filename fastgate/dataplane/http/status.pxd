"""Status codes: the phrase that each has by its standard. Runs in: worker."""

cdef const char *reason_phrase(int status) noexcept nogil
