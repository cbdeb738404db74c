"""Keeps texts and arrays. Runs in: master (workers inherit what it keeps)."""

cimport cython
from libc.stdint cimport uintptr_t

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree


@cython.final
cdef class Keeper:
    """Owns every text and array that it gave; they go when it goes."""

    def __cinit__(self):
        self.texts = []
        self.arrays = []

    def __dealloc__(self):
        for address in self.arrays:
            PyMem_RawFree(<void *><uintptr_t>address)

    cdef Text text(self, object value):
        """A span of a str, as UTF-8, or of bytes; None gives a NULL span."""
        cdef Text t
        cdef bytes data
        t.at = NULL
        t.len = 0
        if value is None:
            return t
        data = value.encode() if isinstance(value, str) else bytes(value)
        self.texts.append(data)
        t.at = data
        t.len = len(data)
        return t

    cdef void *array(self, Py_ssize_t n, size_t item_bytes) except NULL:
        """Room for n items, all zero bytes. Raises MemoryError."""
        cdef void *at = PyMem_RawCalloc(n + 1, item_bytes)
        if at is NULL:
            raise MemoryError("plan")
        self.arrays.append(<uintptr_t>at)
        return at
