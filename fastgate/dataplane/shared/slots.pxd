"""The shared memory region: worker rows, endpoint slots, lease cells.

Runs in: every process (made by the master, inherited by fork). The layout is
drawn in docs/shared-memory.md.

A lease is ONE store into a cell that only this worker writes; a load is the sum
of an endpoint's cells. So a worker killed between any two instructions leaves a
number that the master can give back exactly, by zeroing that worker's column.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastgate.dataplane.base.atomics cimport (
    fg_bump, fg_bump32, fg_load32,
)

cdef enum SlotState:
    SLOT_UNUSED = 0
    SLOT_UP = 1
    SLOT_DOWN = 2       # takes nothing: the steward, or an operator, said so
    SLOT_DRAINING = 3   # finishes what it has, takes nothing new

cdef enum WorkerState:
    WORKER_EMPTY = 0
    WORKER_BOOTING = 1
    WORKER_READY = 2
    WORKER_DRAINING = 3
    WORKER_DEAD = 4
    WORKER_LEFT = 5             # at a stop, having drained

cdef enum:
    LAYOUT_VERSION = 2
    MAX_WORKERS = 256
    MAX_ENDPOINTS = 65536
    MAX_WEIGHT = 256
    CELLS_PER_LINE = 16     # int32 cells in one cache line
    STATUS_CLASSES = 6      # [1] = 1xx ... [5] = 5xx, [0] = no status was sent

cdef struct RegionHeader:       # one page. Writer: master, before it forks
    uint64_t magic
    int32_t layout_version
    int32_t workers             # rows in the worker table
    int32_t endpoints           # slots in the endpoint table
    int32_t columns             # cells per endpoint: workers rounded up to a line
    int64_t size_bytes
    int64_t workers_offset
    int64_t endpoints_offset
    int64_t cells_offset
    int64_t counts_offset
    int32_t worker_row_bytes    # sizes of the rows, so that two builds that
    int32_t endpoint_slot_bytes  # disagree about one of them find out here
    int32_t endpoint_count_bytes
    int32_t _pad

cdef struct WorkerRow:          # 256 bytes. Writer: that worker, unless said
    int64_t heartbeat_ms        # CLOCK_MONOTONIC
    int32_t pid                 # Writer: master
    int32_t generation          # Writer: master
    int32_t state               # a WorkerState. Writer: worker; master when dead
    int32_t connections         # downstream connections open now
    int32_t exchanges           # requests in progress now
    int32_t upstream_connections  # open now, idle ones included
    int64_t accepted            # connections, since the slot was made
    int64_t refused             # connections closed at once: at the limit
    int64_t requests
    int64_t bytes_in            # from clients
    int64_t bytes_out           # to clients
    int64_t faults              # exchanges that ended with a Fault
    int64_t retries
    int64_t log_lines_dropped
    int64_t statuses[STATUS_CLASSES]
    int64_t started_ms          # CLOCK_MONOTONIC. Writer: master
    int64_t retired             # idle clients closed for a newcomer's sake
    int64_t _reserved[12]

cdef struct EndpointSlot:       # 64 bytes = one cache line
    int32_t state               # a SlotState. Writer: steward
    int32_t weight              # 1..256.      Writer: steward
    int64_t skip_until_ms       # passive mark, CLOCK_MONOTONIC. Writer: workers
    int32_t consecutive_failures  # Writer: workers (relaxed: a lost add is harmless)
    int32_t _pad
    int64_t latency_ns          # peak EWMA of time to the response head; 0: none
    int64_t latency_at_ms       # when it was last written, CLOCK_MONOTONIC. Both:
    int64_t _reserved[3]        # Writer: workers (relaxed: a lost sample is harmless)

cdef struct EndpointCount:      # 32 bytes, per worker and endpoint. Writer: that worker
    int64_t total               # leases ever made
    int64_t failures            # leases settled as failed
    int64_t connects            # connections opened
    int64_t _reserved

cdef struct Shared:             # this process's view: borrowed from a Region
    RegionHeader *header
    WorkerRow *workers          # [workers]
    EndpointSlot *endpoints     # [endpoints]
    int32_t *cells              # [endpoints][columns]
    EndpointCount *counts       # [workers][endpoints]
    int n_workers
    int n_endpoints
    int columns

cdef inline void lease(Shared *s, int worker, int endpoint) noexcept nogil:
    """Count one request onto `endpoint`. Both indexes must be in range."""
    fg_bump32(&s.cells[endpoint * s.columns + worker], 1)
    fg_bump(&s.counts[worker * s.n_endpoints + endpoint].total, 1)

cdef inline void settle(
    Shared *s, int worker, int endpoint, bint failed
) noexcept nogil:
    """Count it off again, exactly once a lease."""
    fg_bump32(&s.cells[endpoint * s.columns + worker], -1)
    if failed:
        fg_bump(&s.counts[worker * s.n_endpoints + endpoint].failures, 1)

cdef inline void count_connection(Shared *s, int worker, int endpoint) noexcept nogil:
    """A connection to `endpoint` was opened."""
    fg_bump(&s.counts[worker * s.n_endpoints + endpoint].connects, 1)

cdef inline int64_t in_flight(Shared *s, int endpoint) noexcept nogil:
    """Requests that all workers have in flight on `endpoint` now."""
    cdef const int32_t *cell = s.cells + endpoint * s.columns
    cdef int64_t total = 0
    cdef int i
    for i in range(s.n_workers):  # the columns after them are padding: always 0
        total += fg_load32(cell + i)
    return total

cdef class Region:
    """Owns the mapping; `shared` is valid while the Region lives."""

    cdef Shared shared
    cdef void *_base            # the mapping, unmapped when the Region goes
    cdef size_t _size_bytes
    cdef readonly int fd        # the sealed memfd, inherited by fork
    cdef int map_fd(self) except -1
    cdef void point(self, int workers, int endpoints) noexcept
    cdef WorkerRow *row(self, int slot) except NULL
    cdef EndpointSlot *slot(self, int index) except NULL
