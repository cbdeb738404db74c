"""What tests hold of a worker's pools. Runs in: tests only."""

from fastgate.dataplane.conn cimport conn
from fastgate.dataplane.plan.upstream cimport EndpointPlan, UpstreamPlan


cdef class Pools:
    cdef conn.Worker *worker
    cdef conn.Upstream *connections
    cdef UpstreamPlan *upstreams
    cdef EndpointPlan *endpoints
    cdef readonly int count
    cdef conn.Upstream *at(self, int number) except NULL
