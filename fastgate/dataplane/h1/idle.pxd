"""Clients between two requests, the one that is idle longest first.

Runs in: worker. A client stands here from its accept, or the end of its last
exchange, to the first byte of its next request. When a place or a descriptor is
needed, the first one loses its connection: it is the least likely to be used again.

The list is threaded through the connections themselves, so that coming and going
cost a few stores each and a full worker finds its victim at once, however many
connections it holds.
"""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.h1.connections cimport H1, H1Client, h1


cdef inline void idle_add(Worker *w, H1Client *d) noexcept nogil:
    """`d` has nothing to do from now on."""
    cdef H1 *h = h1(w)
    d.idle_next = NULL
    d.idle_prev = h.idle_last
    if h.idle_last is not NULL:
        h.idle_last.idle_next = d
    else:
        h.idle_first = d
    h.idle_last = d
    d.is_idle = 1


cdef inline void idle_remove(Worker *w, H1Client *d) noexcept nogil:
    """`d` is busy, or goes; nothing happens to one that is not in the list."""
    if not d.is_idle:
        return
    d.is_idle = 0
    if d.idle_prev is not NULL:
        d.idle_prev.idle_next = d.idle_next
    else:
        h1(w).idle_first = d.idle_next
    if d.idle_next is not NULL:
        d.idle_next.idle_prev = d.idle_prev
    else:
        h1(w).idle_last = d.idle_prev

cdef bint has_news(const H1Client *d) noexcept nogil
cdef H1Client *idle_longest(Worker *w) noexcept nogil
