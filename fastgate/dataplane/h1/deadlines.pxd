"""How long a client is waited for: its one timer, lingering, the pace of a body.

Runs in: worker.
"""

from libc.stdint cimport int64_t

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.h1.connections cimport H1Client

cdef void client_rearm(Worker *w, H1Client *d) noexcept nogil
cdef void client_close(Worker *w, H1Client *d, bint reset) noexcept nogil
cdef void start_linger(Worker *w, H1Client *d) noexcept nogil
cdef int64_t linger_deadline(Worker *w, const H1Client *d) noexcept nogil
cdef void wait_for_end(Worker *w, H1Client *d) noexcept nogil
cdef void hurry(Worker *w, H1Client *d) noexcept nogil
cdef void body_deadline(Worker *w, H1Client *d) noexcept nogil
cdef void expect_body(Worker *w, H1Client *d) noexcept nogil
