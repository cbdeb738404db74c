"""Connections to endpoints, and the HTTP/1.1 answers that come over them.

Runs in: worker. An exchange knows one as an Origin, the loop as a Conn with an Owner.
"""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport OriginOps

cdef const OriginOps *h1_origin_ops() noexcept
cdef void origins_follow(Worker *w) noexcept nogil
