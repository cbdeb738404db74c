"""The first tables of shared memory: worker rows, endpoint slots, lease cells.

Runs in: every process.

The layout is drawn in docs/shared-memory.md, the reason for lease cells stands in
docs/decisions/0001-lease-cells.md. Here live only the readers and writers that Python
calls; the data plane works on `Region.shared` with the inline functions of the .pxd.
"""

cimport cython
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastgate.dataplane.base.atomics cimport fg_cas32, fg_load, fg_store, fg_store32
from fastgate.dataplane.shared.region cimport declare_tables, row_bytes

# A row that the compiler padded otherwise than declared is refused at import.
assert sizeof(WorkerRow) == row_bytes(TABLE_WORKERS)
assert sizeof(EndpointSlot) == row_bytes(TABLE_ENDPOINTS)
assert sizeof(EndpointCount) == row_bytes(TABLE_COUNTS)

cdef dict WORKER_STATES = {
    "empty": WORKER_EMPTY,
    "booting": WORKER_BOOTING,
    "ready": WORKER_READY,
    "draining": WORKER_DRAINING,
    "dead": WORKER_DEAD,
    "left": WORKER_LEFT,
}
cdef dict WORKER_STATE_NAMES = {state: name for name, state in WORKER_STATES.items()}
cdef dict SLOT_STATE_NAMES = {
    SLOT_UNUSED: "unused",
    SLOT_UP: "up",
    SLOT_DOWN: "down",
    SLOT_DRAINING: "draining",
}
cdef dict ADMIN_STATES = {
    "enabled": ADMIN_ENABLED,
    "draining": ADMIN_DRAINING,
    "disabled": ADMIN_DISABLED,
}
cdef dict ADMIN_STATE_NAMES = {state: name for name, state in ADMIN_STATES.items()}
cdef dict HEALTH_STATES = {
    "unchecked": HEALTH_UNCHECKED,
    "up": HEALTH_UP,
    "down": HEALTH_DOWN,
    "waiting": HEALTH_WAITING,
}
cdef dict HEALTH_STATE_NAMES = {state: name for name, state in HEALTH_STATES.items()}

# --- what a worker counts: its name here, its field in WorkerRow, and nothing else

cdef WorkerRow drawn  # nobody's row: only asked where its fields lie


cdef int gauge(const int32_t *field) noexcept:
    return <int>(<const char *>field - <const char *>&drawn)


cdef int total(const int64_t *field) noexcept:
    return <int>(<const char *>field - <const char *>&drawn)


# How many there are now, and so of a process: zero once it is gone.
cdef dict GAUGE_OFFSETS = {
    "connections": gauge(&drawn.connections),
    "exchanges": gauge(&drawn.exchanges),
    "upstream_connections": gauge(&drawn.upstream_connections),
}
# What only grows, and so of the slot: a successor counts on from there.
cdef dict TOTAL_OFFSETS = {
    "accepted": total(&drawn.accepted),
    "refused": total(&drawn.refused),
    "retired": total(&drawn.retired),
    "requests": total(&drawn.requests),
    "bytes_in": total(&drawn.bytes_in),
    "bytes_out": total(&drawn.bytes_out),
    "faults": total(&drawn.faults),
    "retries": total(&drawn.retries),
    "log_lines_dropped": total(&drawn.log_lines_dropped),
}
GAUGES = tuple(GAUGE_OFFSETS)
TOTALS = tuple(TOTAL_OFFSETS)


cdef int64_t monotonic_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef void settle_state(EndpointSlot *slot) noexcept:
    """Write the state that follows from admin and health, and since when it is up.

    A slot that is no member's stays unused, whatever is said of it.
    """
    if fg_load32(&slot.state) == SLOT_UNUSED:
        return
    cdef int32_t state = effective(fg_load32(&slot.admin), fg_load32(&slot.health))
    if state == SLOT_UP and fg_load32(&slot.state) != SLOT_UP:
        fg_store(&slot.since_ms, monotonic_ms())
    fg_store32(&slot.state, state)


@cython.final
cdef class Region(Mapping):
    """A region with the tables of `declare_tables`, and what Python does to these."""

    @staticmethod
    def create(int workers, int endpoints, int found=0):
        """A new region: every row empty, every slot unused.

        workers    rows, 1..256: all that may live at once, also during a reload
        endpoints  slots of those that configurations name
        found      slots of those that are found or added at run time; at most 262,144
                   of both
        Raises ValueError for counts out of range, OSError when the kernel refuses.
        """
        cdef Region region = Region.__new__(Region)
        region.make(workers, endpoints, found, declare_tables)
        return region

    @staticmethod
    def attach(int fd):
        """The region behind a descriptor that another process made.

        Raises ValueError, OSError: see `Mapping.take`.
        """
        cdef Region region = Region.__new__(Region)
        region.take(fd, declare_tables)
        return region

    # --- worker rows

    cdef WorkerRow *row(self, int slot) except NULL:
        if not 0 <= slot < self.shared.n_workers:
            raise IndexError(f"worker slot {slot} not in 0..{self.workers - 1}")
        return worker_row(&self.shared, slot)

    def begin_worker(self, int slot, int pid, int generation):
        """Master, after a fork: the row is that process's from now on.

        The child runs already, and may have said that it is ready: its word stands.
        Raises ValueError while the row belongs to another process: reclaim first.
        """
        cdef WorkerRow *row = self.row(slot)
        cdef int32_t owner = fg_load32(&row.pid)
        cdef int64_t now_ms = monotonic_ms()
        if pid <= 0:
            raise ValueError(f"pid: {pid} is no process")
        if owner not in (0, pid):
            raise ValueError(f"worker slot {slot} belongs to process {owner}")
        fg_store(&row.heartbeat_ms, now_ms)
        fg_store(&row.started_ms, now_ms)
        fg_store32(&row.generation, generation)
        fg_store32(&row.pid, pid)
        if not fg_cas32(&row.state, WORKER_EMPTY, WORKER_BOOTING):
            if not fg_cas32(&row.state, WORKER_DEAD, WORKER_BOOTING):
                fg_cas32(&row.state, WORKER_LEFT, WORKER_BOOTING)

    def set_worker_state(self, int slot, str state):
        """`booting`, `ready`, `draining` (worker), `dead` or `left` (master)."""
        cdef WorkerRow *row = self.row(slot)
        if state not in WORKER_STATES or state == "empty":
            raise ValueError(f"worker state: {state!r}")
        fg_store32(&row.state, WORKER_STATES[state])

    def heartbeat(self, int slot):
        """Worker: now, on CLOCK_MONOTONIC."""
        fg_store(&self.row(slot).heartbeat_ms, monotonic_ms())

    def heartbeat_age_ms(self, int slot):
        return max(0, monotonic_ms() - fg_load(&self.row(slot).heartbeat_ms))

    def reclaim_worker(self, int slot):
        """Master, after waitpid: give back what a dead worker held.

        Zeroes its lease cells and gauges, keeps its totals, frees the row for a
        successor. Returns the leases. Idempotent, so a master that died half way
        through (its successor repeats it) leaves nothing behind.
        """
        cdef WorkerRow *row = self.row(slot)
        cdef Shared *s = &self.shared
        cdef int32_t *cell
        cdef int32_t held
        cdef int64_t leases = 0
        cdef int i
        for i in range(s.n_endpoints):
            cell = lease_cell(s, slot, i)
            held = fg_load32(cell)
            if held != 0:  # a page that was never written stays unallocated
                leases += max(0, held)
                fg_store32(cell, 0)
        for offset in GAUGE_OFFSETS.values():
            fg_store32(<int32_t *>(<char *>row + <int>offset), 0)
        fg_store32(&row.state, WORKER_DEAD)
        fg_store32(&row.pid, 0)
        return leases

    def worker(self, int slot):
        """One row as a dict: identity, GAUGES, and TOTALS since the slot was made.

        `pid` is 0 in a row without a process; `statuses[3]` counts the 3xx sent,
        `statuses[0]` exchanges that ended without any status.
        """
        cdef WorkerRow *row = self.row(slot)
        cdef const char *at = <const char *>row
        cdef int64_t now_ms = monotonic_ms()
        cdef int i
        return {
            "pid": fg_load32(&row.pid),
            "generation": fg_load32(&row.generation),
            "state": WORKER_STATE_NAMES.get(fg_load32(&row.state), "invalid"),
            "heartbeat_age_ms": max(0, now_ms - fg_load(&row.heartbeat_ms)),
            "age_ms": max(0, now_ms - fg_load(&row.started_ms)),
            **{
                name: fg_load32(<const int32_t *>(at + <int>offset))
                for name, offset in GAUGE_OFFSETS.items()
            },
            **{
                name: fg_load(<const int64_t *>(at + <int>offset))
                for name, offset in TOTAL_OFFSETS.items()
            },
            "statuses": [fg_load(&row.statuses[i]) for i in range(STATUS_CLASSES)],
        }

    # --- endpoint slots

    cdef EndpointSlot *slot(self, int index) except NULL:
        if not 0 <= index < self.shared.n_endpoints:
            raise IndexError(f"endpoint {index} not in 0..{self.endpoints - 1}")
        return endpoint_slot(&self.shared, index)

    def endpoint(self, int index):
        """One endpoint over all workers, as a dict.

        `state` is what `admin` and `health` make of it; `since_ms` when it last became
        up, CLOCK_MONOTONIC, 0 = it was from the beginning. `in_flight`, `total`,
        `failures` and `connects` are sums; `skipped_ms` is how long a passive mark
        still passes it over; `latency_us` 0 = no sample.
        """
        cdef EndpointSlot *slot = self.slot(index)
        cdef Shared *s = &self.shared
        cdef EndpointCount *count
        cdef int64_t total = 0, failures = 0, connects = 0
        cdef int worker
        for worker in range(s.n_workers):
            count = endpoint_count(s, worker, index)
            total += fg_load(&count.total)
            failures += fg_load(&count.failures)
            connects += fg_load(&count.connects)
        return {
            "state": SLOT_STATE_NAMES.get(fg_load32(&slot.state), "invalid"),
            "admin": ADMIN_STATE_NAMES.get(fg_load32(&slot.admin), "invalid"),
            "health": HEALTH_STATE_NAMES.get(fg_load32(&slot.health), "invalid"),
            "since_ms": fg_load(&slot.since_ms),
            "weight": fg_load32(&slot.weight),
            "in_flight": in_flight(s, index),
            "total": total,
            "failures": failures,
            "connects": connects,
            "latency_us": fg_load(&slot.latency_ns) // 1000,
            "skipped_ms": max(0, fg_load(&slot.skip_until_ms) - monotonic_ms()),
        }

    def set_admin(self, int index, str admin):
        """Steward: `enabled`, `draining` or `disabled`. Raises ValueError."""
        cdef EndpointSlot *slot = self.slot(index)
        if admin not in ADMIN_STATES:
            raise ValueError(f"endpoint admin: {admin!r}")
        fg_store32(&slot.admin, ADMIN_STATES[admin])
        settle_state(slot)

    def set_health(self, int index, str health):
        """Steward: `unchecked`, `up`, `down` or `waiting`. Raises ValueError.

        Also what it is already: that puts right a state that was not written any
        more, its writer having been killed.
        """
        cdef EndpointSlot *slot = self.slot(index)
        if health not in HEALTH_STATES:
            raise ValueError(f"endpoint health: {health!r}")
        fg_store32(&slot.health, HEALTH_STATES[health])
        settle_state(slot)

    def set_endpoint(self, int index, *, int weight):
        """Steward: its weight, 1..256. Raises ValueError."""
        cdef EndpointSlot *slot = self.slot(index)
        if not 1 <= weight <= MAX_WEIGHT:
            raise ValueError(f"weight: {weight} not in 1..{MAX_WEIGHT}")
        fg_store32(&slot.weight, weight)
