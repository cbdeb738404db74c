"""A connection to an endpoint: dialled, bound to an exchange, closed.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Owner, Worker
from fastgate.dataplane.exchange.sides cimport Exchange, OriginOps
from fastgate.dataplane.h1.connections cimport H1Origin
from fastgate.dataplane.plan.upstream cimport UpstreamPlan

cdef int dial(
    Worker *w, Exchange *x, int endpoint, const Owner *owner, const OriginOps *ops,
    bint *ready
) noexcept nogil
cdef int refusal(Exchange *x, int error, int family) noexcept nogil
cdef int opening_fault(int error, bint is_unix) noexcept nogil
cdef bint origin_retire(Worker *w) noexcept nogil
cdef void origin_close(Worker *w, H1Origin *u, bint reset) noexcept nogil


cdef inline void bind(H1Origin *u, Exchange *x) noexcept nogil:
    """`u` serves `x` from now on."""
    u.origin.exchange = x
    x.origin = &u.origin
    u.origin.answered = 0
    u.head_done = 0
    u.keep_alive = 0


cdef inline const UpstreamPlan *plan_of(Worker *w, H1Origin *u) noexcept nogil:
    return &w.upstream_plans[w.endpoints[u.endpoint].upstream]
