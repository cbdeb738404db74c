"""What tests hold of a worker's pools. Runs in: tests only."""

from fastgate.dataplane.conn cimport conn
from fastgate.dataplane.h1 cimport connections
from fastgate.dataplane.balance.endpoint cimport Endpoint
from fastgate.dataplane.plan.upstream cimport UpstreamPlan


cdef class Pools:
    cdef conn.Worker *worker
    cdef connections.H1Origin *origins
    cdef UpstreamPlan *upstreams
    cdef Endpoint *endpoints
    cdef readonly int count
    cdef connections.H1Origin *at(self, int number) except NULL
