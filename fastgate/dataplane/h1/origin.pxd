"""Connections to endpoints, and the HTTP/1.1 answers that come over them.

Runs in: worker. An exchange knows one as an Origin, the loop as a Conn with an Owner.
"""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport Exchange, OriginOps
from fastgate.dataplane.h1.connections cimport H1Origin

cdef const OriginOps *h1_origin_ops() noexcept
cdef int opening_fault(int error, bint is_unix) noexcept nogil
cdef bint origin_retire(Worker *w) noexcept nogil
