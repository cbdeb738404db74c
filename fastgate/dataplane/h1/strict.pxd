"""What llhttp accepts of a head and we do not.

Runs in: worker.
"""

from libc.stddef cimport size_t

from fastgate.dataplane.http.message cimport Head, HeadLimits

cdef int unknown_method(Head *h, const char *line, const char *end) noexcept nogil
cdef int finish_request(
    Head *h, const HeadLimits *limits, const char *line, const char *end
) noexcept nogil
cdef int check_status_line(
    Head *h, const char *line, const char *eol, bint lenient
) noexcept nogil
cdef int finish_response(Head *h) noexcept nogil
