"""The rooms parser and canonical, opened to pytest. Runs in: tests only."""

from fastgate.dataplane.http.message cimport Head, HeadLimits, Parser

cdef class Wire:
    """One side of a connection: a Parser, and the Head it reads into."""

    cdef Parser parser
    cdef HeadLimits limits
    cdef Head *head_         # owned
    cdef char *buf           # owned: exactly the bytes of the last call

    cdef int refill(self, bytes data) except -1
