"""The loop of one worker, and its door to Python.

Runs in: worker.
"""

from libc.stdint cimport int64_t

from fastgate.dataplane.base.wheel cimport Timer
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.plan.plan cimport Plan
from fastgate.dataplane.shared.slots cimport Region

cdef struct Listening:          # one listening socket of this worker
    Timer timer                 # accepting again after descriptors ran out
    int fd                      # borrowed: the master's, inherited
    int listener                # index into the plan
    int is_accepting            # registered with epoll

cdef class Engine:
    cdef Worker *w
    cdef Listening *listening
    cdef int n_listening
    cdef int64_t dropped_before  # log lines, by this slot's workers until now
    cdef int64_t dropped        # by this one, once it is closed
    cdef Region region          # kept alive: `w` borrows from both
    cdef Plan plan

    cdef int _make_tables(self, int slot) except -1
    cdef void _free_tables(self) noexcept
    cdef bint _follow(self) noexcept nogil
    cdef void _run(self) noexcept nogil
    cdef void _run_queue(self) noexcept nogil
    cdef void _timers(self) noexcept nogil
    cdef void _accept(self, Listening *listening, bint all_of_them) noexcept nogil
    cdef int _watch(self, int index) noexcept nogil
    cdef void _unwatch(self, Listening *listening) noexcept nogil
