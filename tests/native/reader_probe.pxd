"""The room reader, opened to pytest. Runs in: tests only."""

from fastgate.dataplane.h1 cimport reader as h1
from fastgate.dataplane.http.message cimport Head, HeadLimits

cdef class Side:
    """What one side of a connection reads, without its socket."""

    cdef h1.Reader reader
    cdef HeadLimits limits
    cdef Head *head         # owned
    cdef char *scratch      # owned: exactly the bytes at hand
    cdef h1.Reading bytes
    cdef bint response

    cdef void _expect(self)
