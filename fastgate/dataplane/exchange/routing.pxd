"""A request to its route, and the words of a refusal there.

Runs in: worker.
"""

from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.exchange.sides cimport Exchange
from fastgate.dataplane.http.message cimport Head

cdef enum:
    REFUSAL_BYTES = 320

cdef void note_refused(
    Worker *w, const Exchange *x, const Head *h, int kind, int fault
) noexcept nogil
cdef int judge_unknown_method(
    Worker *w, const Exchange *x, const Head *h
) noexcept nogil
cdef int find_route(Worker *w, Exchange *x, const Head *h) noexcept nogil
cdef void put_refusal(Worker *w, const Exchange *x, char *out) noexcept nogil
