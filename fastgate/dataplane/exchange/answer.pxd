"""An origin that answers from memory: direct responses and redirects.

Runs in: worker.
"""

from fastgate.dataplane.exchange.sides cimport OriginOps

cdef const OriginOps *answer_ops() noexcept
