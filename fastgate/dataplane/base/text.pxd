"""Spans of text that somebody else owns, and literals of ours on their way out.

Runs in: every process. Header-only.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, strlen

cdef struct Text:               # borrowed; at NULL: there is none
    const char *at
    uint32_t len

cdef inline char *put(char *at, const char *text) noexcept nogil:
    """Write a literal, without its NUL; returns the end.

    Its strlen is a constant once this is inlined.
    """
    cdef size_t n = strlen(text)
    memcpy(at, text, n)
    return at + n
