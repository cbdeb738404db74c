"""Heads built from Python values, and the writers that turn them into bytes.

Runs in: tests only.
"""

from libc.stdint cimport uint32_t

from fastgate.dataplane.http.message cimport Head
from fastgate.dataplane.http.outgoing cimport (
    Framing, RequestFacts, RequestShape, ResponseShape,
)
from fastgate.dataplane.http.rules cimport Rule, Rules

cdef class Message:
    """Owns a Head and whatever Python bytes its spans borrow."""

    cdef Head *head
    cdef Rule *rules
    cdef list kept
    cdef const char *keep(self, object text, uint32_t *length)
    cdef void fill(self, list fields, dict start) except *
    cdef void fill_rules(self, Rules *out, list rules) except *

cdef class RequestProbe(Message):
    cdef RequestShape shape
    cdef RequestFacts facts

cdef class ResponseProbe(Message):
    cdef ResponseShape shape
    cdef Framing framing
    cdef const char *date
