"""The thread that writes a log, so that nothing else waits for a disk or a reader.

Runs in: every process. The process puts whole lines into a bounded queue and goes on;
one thread takes them out and writes. Full queue, full disk, reader gone: the lines are
dropped and counted. docs/decisions/0007-a-thread-for-the-log.md says why it is a
thread, also in the master, which forks.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

cdef struct LogWriter:          # all of it under `mutex`, but `ring` as it is written
    pthread_mutex_t mutex
    pthread_cond_t changed      # for the thread: there is something to do
    pthread_cond_t settled      # for the process: nothing is, see is_settled
    pthread_t thread
    int fd                      # owned
    int next_fd                 # for when `out_bytes` is `switch_at`; -1: none
    int turning_fd              # being gone on with; -1: none
    int error                   # errno of the last write; 0: it was taken
    uint8_t is_running          # the thread exists: from the first line or file on
    uint8_t is_busy             # it is in a call that a disk may hold up
    uint8_t is_held             # a torn line waits for the next one
    uint8_t is_torn             # the last write ended inside a line
    uint8_t is_wrapped          # the lines behind `wrap` stand at the beginning
    uint8_t is_stream           # a pipe, a socket or a terminal, not a file
    uint8_t has_next
    uint8_t is_closing          # the thread leaves when it is settled
    uint8_t is_abandoned        # nobody waits for it: it frees this when it leaves
    char *ring                  # [size], owned
    size_t size
    size_t at                   # first byte not written yet
    size_t end                  # behind the last
    size_t wrap
    size_t used
    int64_t put_bytes           # ever
    int64_t out_bytes           # of them, written or dropped
    int64_t switch_at
    int64_t dropped             # lines

cdef LogWriter *writer_make(int fd, size_t queue_bytes) except NULL
cdef bint writer_put(LogWriter *w, const char *lines, size_t n) noexcept nogil
cdef void writer_reopen(LogWriter *w, int fd) noexcept nogil
cdef bint writer_wait(LogWriter *w, int within_ms) noexcept nogil
cdef int64_t writer_close(LogWriter *w, int within_ms) noexcept nogil
cdef int64_t writer_state(LogWriter *w, int *error, bint *is_settled) noexcept nogil

cdef class LineWriter:
    cdef LogWriter *w
    cdef int pid                # whose it is: a child must not touch its parent's
    cdef int64_t lost           # of a closed one

    cdef bint _is_usable(self) noexcept
