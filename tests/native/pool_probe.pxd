"""What tests hold of a worker's pools. Runs in: tests only."""

from fastgate.dataplane.conn cimport conn
from fastgate.dataplane.plan cimport plan


cdef class Pools:
    cdef conn.Worker *worker
    cdef conn.Upstream *connections
    cdef plan.UpstreamPlan *upstreams
    cdef plan.EndpointPlan *endpoints
    cdef readonly int count
    cdef conn.Upstream *at(self, int number) except NULL
