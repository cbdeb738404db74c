"""Which idle client loses its connection when a place is needed. Runs in: worker."""

from fastgate.dataplane.base.memory cimport bytes_len
from fastgate.dataplane.base.system cimport MSG_DONTWAIT, MSG_PEEK, recv

cdef enum:
    LOOKS = 64                  # clients looked at to find one


cdef bint has_news(const H1Client *d) noexcept nogil:
    """Has an idle client sent something, though perhaps only as far as the kernel?

    A close would lose it, and reset the connection (RFC 9112 section 9.6).
    """
    cdef char peeked
    return (
        d.conn.readable
        or d.conn.in_run_queue
        or bytes_len(&d.reader.kept) != 0
        or recv(d.conn.fd, &peeked, 1, MSG_PEEK | MSG_DONTWAIT) > 0
    )


cdef H1Client *idle_longest(Worker *w) noexcept nogil:
    """The client that has been idle longest, or NULL if none may be closed.

    One whose next request is here already is passed over. After LOOKS of those the
    search is given up.
    """
    cdef H1Client *d = h1(w).idle_first
    cdef int looks = LOOKS
    while d is not NULL and looks:
        looks -= 1
        if not has_news(d):
            return d
        d = d.idle_next
    return NULL
