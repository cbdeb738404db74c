"""One request and its response: what the two sides tell of it.

Runs in: worker. After a call an exchange may be over, and its connection closed: a
side looks at the generation of its own Conn, or at its `exchange`, before it goes on.
"""

from libc.stddef cimport size_t

from fastgate.dataplane.base.wheel cimport Timer
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport Client, Exchange, OriginOps
from fastgate.dataplane.http.message cimport Head

cdef void exchange_register(int kind, const OriginOps *ops) noexcept
cdef void exchange_timer(Worker *w, Exchange *x) noexcept nogil
cdef void abandon(Worker *w, Exchange *x, int fault) noexcept nogil

# From the client's side.
cdef bint request_head(Worker *w, Client *c, const Head *h) noexcept nogil
cdef bint request_refused(
    Worker *w, Client *c, int fault, const Head *h
) noexcept nogil
cdef void request_body(
    Worker *w, Exchange *x, const char *data, size_t n
) noexcept nogil
cdef void request_end(Worker *w, Exchange *x) noexcept nogil
cdef void client_flushed(Worker *w, Exchange *x) noexcept nogil

# From the origin's side.
cdef void origin_ready(Worker *w, Exchange *x) noexcept nogil
cdef void response_head(Worker *w, Exchange *x, const Head *h) noexcept nogil
cdef void response_body(
    Worker *w, Exchange *x, const char *data, size_t n
) noexcept nogil
cdef void response_end(Worker *w, Exchange *x) noexcept nogil
cdef void origin_fault(Worker *w, Exchange *x, int fault) noexcept nogil
cdef void origin_flushed(Worker *w, Exchange *x) noexcept nogil

# Somebody who waits may be served: a connection that belonged to no exchange any more
# has closed, or it is time to look at what other processes changed.
cdef void wake_queue(Worker *w, int upstream) noexcept nogil
cdef void queue_timer(Worker *w, Timer *t) noexcept nogil
