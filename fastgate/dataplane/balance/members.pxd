"""Which endpoints are in each upstream's group. Runs in: worker."""

from libc.stdint cimport int64_t

from fastgate.dataplane.conn.conn cimport Worker

cdef int members_make(Worker *w) except -1
cdef void members_free(Worker *w) noexcept
cdef bint members_follow(Worker *w, int64_t version) noexcept nogil
