"""Which idle client loses its connection when a place is needed. Runs in: worker."""

from fastgate.dataplane.memory cimport bytes_len
from fastgate.dataplane.system cimport MSG_DONTWAIT, MSG_PEEK, recv

cdef enum:
    LOOKS = 64                  # clients looked at to find one


cdef Downstream *idle_longest(Worker *w) noexcept nogil:
    """The client that has been idle longest, or NULL if none may be closed.

    One whose next request is here already, though perhaps only in the kernel, is
    passed over: it would lose it. After LOOKS of those the search is given up.
    """
    cdef Downstream *d = w.idle_first
    cdef char peeked
    cdef int looks = LOOKS
    while d is not NULL and looks:
        looks -= 1
        if (
            not d.conn.readable
            and not d.conn.queued
            and bytes_len(&d.conn.input) == 0
            and recv(d.conn.fd, &peeked, 1, MSG_PEEK | MSG_DONTWAIT) <= 0
        ):
            return d
        d = d.idle_next
    return NULL
