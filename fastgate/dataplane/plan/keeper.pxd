"""Keeps what the structs of a plan borrow: texts and arrays, as long as the plan.

Runs in: every process (made by the master, read by workers).
"""

from libc.stddef cimport size_t

from fastgate.dataplane.base.text cimport Text

cdef class Keeper:
    cdef list texts             # the bytes objects that Text spans borrow
    cdef list arrays            # addresses of arrays to free

    cdef Text text(self, object value)
    cdef void *array(self, Py_ssize_t n, size_t item_bytes) except NULL
