"""What tests hold of a worker whose sides are fakes. Runs in: tests only."""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport Client, Origin
from fastgate.dataplane.http.message cimport Head
from fastgate.dataplane.plan.plan cimport Plan
from fastgate.dataplane.shared.slots cimport Region

cdef struct FakeClient:
    Client client               # first: the exchange knows this address alone
    void *side                  # its ClientSide, kept by the Gate

cdef struct FakeOrigin:
    Origin origin               # first, as above
    void *side                  # its OriginSide, kept by the Gate


cdef class Gate:
    cdef Plan plan              # both own what the worker borrows
    cdef Region region
    cdef Worker *worker         # owned; its `h1` is this Gate
    cdef Head *head             # scratch for what is parsed
    cdef list open_             # [endpoint] connections that are open
    cdef readonly list asked    # "pack LINE" and "open ENDPOINT", in order
    cdef readonly list clients
    cdef readonly list origins  # as they were opened
    cdef readonly list complaints   # calls that no side may be given
    # How the next ones go: "ready" (as when there are none), "waits", "pooled" unless
    # it is a replay, or by which fault they fail.
    cdef public list opens
    cdef public object pack_fault   # the reason by which heads are refused, or None
    cdef public bint is_slow    # peers take nothing until they are flushed
    cdef int count(self, int endpoint, int by) except -1


cdef class ClientSide:
    cdef Gate gate
    cdef FakeClient fake
    cdef readonly list heard    # what the exchange asked of it
    cdef public size_t queued
    cdef public bint is_corked  # its answer does not leave before its end
    cdef public bint has_more   # something stands behind its request
    cdef size_t held            # bytes of the body until then
    cdef readonly bint reads    # a body, or a tunnel, whose end has not come
    cdef readonly bint answered     # a final head was sent
    cdef int hear(self, str what) except -1
    cdef int send(self, size_t n) except -1
    cdef int push(self) except -1
    cdef int check(self) except -1


cdef class OriginSide:
    cdef Gate gate
    cdef FakeOrigin fake
    cdef readonly int endpoint
    cdef readonly list heard
    cdef public size_t queued
    cdef readonly bint is_connecting
    cdef readonly bint head_done    # its final head was given
    cdef readonly bint ended        # and the end
    cdef int hear(self, str what) except -1
    cdef int check(self) except -1
    cdef int leave(self) except -1
