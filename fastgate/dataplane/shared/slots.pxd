"""The first tables of shared memory: worker rows, endpoint slots, lease cells.

Runs in: every process. The layout is drawn in docs/shared-memory.md.

A lease is ONE store into a cell that only this worker writes; a load is the sum
of an endpoint's cells. So a worker killed between any two instructions leaves a
number that the master can give back exactly, by zeroing that worker's column.
"""

from libc.stdint cimport int32_t, int64_t

from fastgate.dataplane.base.atomics cimport fg_bump, fg_bump32, fg_load32
from fastgate.dataplane.shared.region cimport (
    TABLE_CELLS, TABLE_COUNTS, TABLE_ENDPOINTS, TABLE_WORKERS, Mapping, Shared,
    cell_columns,
)

cdef enum SlotState:    # what workers go by: made of the two below by `effective`
    SLOT_UNUSED = 0
    SLOT_UP = 1
    SLOT_DOWN = 2       # takes nothing
    SLOT_DRAINING = 3   # finishes what it has, takes nothing new

cdef enum SlotAdmin:    # what the operator says
    ADMIN_ENABLED = 0
    ADMIN_DRAINING = 1
    ADMIN_DISABLED = 2

cdef enum SlotHealth:   # what the health checks say
    HEALTH_UNCHECKED = 0    # nothing is known to be wrong with it
    HEALTH_UP = 1
    HEALTH_DOWN = 2         # checks failed, or its name did not resolve
    HEALTH_WAITING = 3      # takes nothing before its first check has passed

cdef enum WorkerState:
    WORKER_EMPTY = 0
    WORKER_BOOTING = 1
    WORKER_READY = 2
    WORKER_DRAINING = 3
    WORKER_DEAD = 4
    WORKER_LEFT = 5             # as it was told to, having drained

cdef enum:
    MAX_WEIGHT = 256
    STATUS_CLASSES = 6      # [1] = 1xx ... [5] = 5xx, [0] = no status was sent

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
    int64_t members_seen        # the membership version that it goes by
    int64_t _reserved[11]

cdef struct EndpointSlot:       # 64 bytes = one cache line
    int32_t state               # a SlotState.  Writer: steward; master before it forks
    int32_t weight              # 1..256.       Writer: the same
    int64_t skip_until_ms       # passive mark, CLOCK_MONOTONIC. Writer: workers
    int32_t consecutive_failures  # Writer: workers (relaxed: a lost add is harmless)
    int32_t admin               # a SlotAdmin.  Writer: steward; master before it forks
    # Both: Writer: workers (relaxed: a lost sample is harmless)
    int64_t latency_ns          # peak EWMA of time to the response head; 0: none
    int64_t latency_at_ms       # when it was last written, CLOCK_MONOTONIC
    int32_t health              # a SlotHealth. Writer: steward; master before it forks
    int32_t _pad
    # When `state` last became up, CLOCK_MONOTONIC; 0: it was from the beginning.
    int64_t since_ms            # Writer: as of `state`
    int64_t _reserved

cdef struct EndpointCount:      # 32 bytes, per worker and endpoint. Writer: that worker
    int64_t total               # leases ever made
    int64_t failures            # leases settled as failed
    int64_t connects            # connections opened
    int64_t _reserved

# --- one row of a table; every index must be in range

cdef inline WorkerRow *worker_row(Shared *s, int worker) noexcept nogil:
    return <WorkerRow *>s.tables[TABLE_WORKERS] + worker

cdef inline EndpointSlot *endpoint_slot(Shared *s, int endpoint) noexcept nogil:
    return <EndpointSlot *>s.tables[TABLE_ENDPOINTS] + endpoint

cdef inline int32_t *lease_cell(Shared *s, int worker, int endpoint) noexcept nogil:
    """Of [endpoint][worker]; the columns after the workers are padding: always 0."""
    return (
        <int32_t *>s.tables[TABLE_CELLS] + endpoint * cell_columns(s.n_workers) + worker
    )

cdef inline EndpointCount *endpoint_count(
    Shared *s, int worker, int endpoint
) noexcept nogil:
    """Of [worker][endpoint]."""
    return <EndpointCount *>s.tables[TABLE_COUNTS] + worker * s.n_endpoints + endpoint

cdef inline int32_t effective(int32_t admin, int32_t health) noexcept nogil:
    """The state of an endpoint, of what the operator and the checks say of it.

                    unchecked   up          down    waiting
        enabled     up          up          down    down
        draining    draining    draining    down    down
        disabled    down        down        down    down

    A number that is neither, which nobody writes, counts as disabled or down.
    """
    if health != HEALTH_UNCHECKED and health != HEALTH_UP:
        return SLOT_DOWN
    if admin == ADMIN_ENABLED:
        return SLOT_UP
    return SLOT_DRAINING if admin == ADMIN_DRAINING else SLOT_DOWN

# --- leases

cdef inline void lease(Shared *s, int worker, int endpoint) noexcept nogil:
    """Count one request onto `endpoint`."""
    fg_bump32(lease_cell(s, worker, endpoint), 1)
    fg_bump(&endpoint_count(s, worker, endpoint).total, 1)

cdef inline void settle(
    Shared *s, int worker, int endpoint, bint failed
) noexcept nogil:
    """Count it off again, exactly once a lease; the cell last, which holds the slot."""
    if failed:
        fg_bump(&endpoint_count(s, worker, endpoint).failures, 1)
    fg_bump32(lease_cell(s, worker, endpoint), -1)

cdef inline void count_connection(Shared *s, int worker, int endpoint) noexcept nogil:
    """A connection to `endpoint` was opened."""
    fg_bump(&endpoint_count(s, worker, endpoint).connects, 1)

cdef inline int64_t in_flight(Shared *s, int endpoint) noexcept nogil:
    """Requests that all workers have in flight on `endpoint` now."""
    cdef const int32_t *cell = lease_cell(s, 0, endpoint)
    cdef int64_t total = 0
    cdef int i
    for i in range(s.n_workers):
        total += fg_load32(cell + i)
    return total

cdef class Region(Mapping):
    """A region with the tables of `declare_tables`, and what Python does to these."""

    cdef WorkerRow *row(self, int slot) except NULL
    cdef EndpointSlot *slot(self, int index) except NULL
