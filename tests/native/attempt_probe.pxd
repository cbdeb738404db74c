"""What tests hold of attempts at the endpoints of an upstream. Runs in: tests only."""

from fastgate.dataplane.balance.attempt cimport Attempt
from fastgate.dataplane.conn cimport conn
from fastgate.dataplane.plan.upstream cimport UpstreamPlan

cdef enum:
    ATTEMPTS = 32


cdef class Upstream:
    cdef object region              # owns what worker.shared borrows
    cdef conn.Worker *worker
    cdef UpstreamPlan plan
    cdef Attempt attempts[ATTEMPTS]
    cdef Attempt *at(self, int number) except NULL
    cdef int endpoint(self, int index) except -1
