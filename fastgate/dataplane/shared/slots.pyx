"""The shared memory region: worker rows, endpoint slots, lease cells.

Runs in: every process (made by the master, inherited by fork; a new master after
an upgrade attaches to it by its descriptor).

The layout is drawn in docs/shared-memory.md, the reason for lease cells stands in
docs/decisions/0001-lease-cells.md. Here live only the makers and readers that
Python calls; the data plane works on `Region.shared` with the inline functions of
the .pxd.
"""

import errno
import fcntl
import os

cimport cython
from libc.errno cimport errno as c_errno
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport (
    MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap,
)
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

from fastgate.dataplane.base.atomics cimport fg_cas32, fg_load, fg_store, fg_store32

cdef enum:
    PAGE_BYTES = 4096

# "FASTGATE" as it stands in memory on a little-endian machine.
cdef uint64_t MAGIC = <uint64_t>0x4554414754534146U

# A layout that the compiler padded otherwise than drawn is refused at import.
assert sizeof(WorkerRow) == 256
assert sizeof(EndpointSlot) == 64
assert sizeof(EndpointCount) == 32
assert sizeof(RegionHeader) <= PAGE_BYTES

cdef dict WORKER_STATES = {
    "empty": WORKER_EMPTY,
    "booting": WORKER_BOOTING,
    "ready": WORKER_READY,
    "draining": WORKER_DRAINING,
    "dead": WORKER_DEAD,
    "left": WORKER_LEFT,
}
cdef dict WORKER_STATE_NAMES = {state: name for name, state in WORKER_STATES.items()}
cdef dict SLOT_STATES = {
    "up": SLOT_UP,
    "down": SLOT_DOWN,
    "draining": SLOT_DRAINING,
}
cdef dict SLOT_STATE_NAMES = {state: name for name, state in SLOT_STATES.items()}
SLOT_STATE_NAMES[SLOT_UNUSED] = "unused"


cdef int64_t monotonic_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef int64_t whole_pages(int64_t size_bytes) noexcept nogil:
    return (size_bytes + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES


cdef void draw_header(RegionHeader *header, int workers, int endpoints) noexcept nogil:
    """The header of a region of this many rows and slots: every byte of it.

    The one place that knows where a table lies. A reader compares its own drawing
    with what it found, so nothing of a foreign header is ever trusted.
    """
    memset(header, 0, sizeof(RegionHeader))
    header.magic = MAGIC
    header.layout_version = LAYOUT_VERSION
    header.workers = workers
    header.endpoints = endpoints
    header.columns = (
        (workers + CELLS_PER_LINE - 1) // CELLS_PER_LINE * CELLS_PER_LINE
    )
    header.worker_row_bytes = sizeof(WorkerRow)
    header.endpoint_slot_bytes = sizeof(EndpointSlot)
    header.endpoint_count_bytes = sizeof(EndpointCount)

    cdef int64_t end = PAGE_BYTES
    header.workers_offset = end
    end += whole_pages(<int64_t>workers * sizeof(WorkerRow))
    header.endpoints_offset = end
    end += whole_pages(<int64_t>endpoints * sizeof(EndpointSlot))
    header.cells_offset = end
    end += whole_pages(<int64_t>endpoints * header.columns * sizeof(int32_t))
    header.counts_offset = end
    end += whole_pages(<int64_t>workers * endpoints * sizeof(EndpointCount))
    header.size_bytes = end


@cython.final
cdef class Region:
    """Owns the mapping; `shared` is valid while the Region lives.

    Made by `Region.create` (master) or `Region.attach` (a new master); forked
    processes simply go on using the object that they inherited.
    """

    def __cinit__(self):
        self.fd = -1
        self._base = NULL

    def __init__(self):
        raise TypeError("use Region.create or Region.attach")

    def __dealloc__(self):
        if self._base is not NULL:
            munmap(self._base, self._size_bytes)
        if self.fd >= 0:
            close(self.fd)

    @property
    def workers(self):
        return self.shared.n_workers

    @property
    def endpoints(self):
        return self.shared.n_endpoints

    # --- birth

    @staticmethod
    def create(int workers, int endpoints):
        """A new region: every row empty, every endpoint up with weight 1.

        workers    rows, 1..256: all that may live at once, also during a reload
        endpoints  slots, 1..65536
        Raises ValueError for counts out of range, OSError when the kernel refuses.
        """
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"workers: {workers} not in 1..{MAX_WORKERS}")
        if not 1 <= endpoints <= MAX_ENDPOINTS:
            raise ValueError(f"endpoints: {endpoints} not in 1..{MAX_ENDPOINTS}")
        cdef RegionHeader header
        cdef Region region = Region.__new__(Region)
        cdef int i

        draw_header(&header, workers, endpoints)
        region.fd = os.memfd_create(
            "fastgate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        )
        os.ftruncate(region.fd, header.size_bytes)
        # Nobody can shorten it under a reader (SIGBUS), or lift the seals.
        fcntl.fcntl(
            region.fd,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
        region._size_bytes = header.size_bytes
        region.map_fd()
        memcpy(region._base, &header, sizeof(RegionHeader))
        region.point(workers, endpoints)
        for i in range(endpoints):
            fg_store32(&region.shared.endpoints[i].weight, 1)
            fg_store32(&region.shared.endpoints[i].state, SLOT_UP)
        return region

    @staticmethod
    def attach(int fd):
        """The region behind a descriptor that another process made.

        The descriptor is duplicated; the caller keeps its own. Raises ValueError
        unless it is a sealed memory file with exactly the header that this build
        would have written, OSError when the kernel refuses.
        """
        cdef RegionHeader found, expected
        cdef Region region = Region.__new__(Region)
        cdef int64_t size_bytes = os.fstat(fd).st_size

        needed = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            seals = 0
        if seals & needed != needed:
            raise ValueError("shared memory: the descriptor is not sealed")
        if size_bytes < PAGE_BYTES:
            raise ValueError(f"shared memory: {size_bytes} bytes hold no header")
        region.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
        region._size_bytes = size_bytes
        region.map_fd()

        # Judged on a copy: what was checked cannot change afterwards.
        memcpy(&found, region._base, sizeof(RegionHeader))
        if found.magic != MAGIC:
            raise ValueError("shared memory: not fastgate's")
        if found.layout_version != LAYOUT_VERSION:
            raise ValueError(
                f"shared memory: layout version {found.layout_version}, "
                f"this program has {LAYOUT_VERSION}"
            )
        if not (
            1 <= found.workers <= MAX_WORKERS and 1 <= found.endpoints <= MAX_ENDPOINTS
        ):
            raise ValueError("shared memory: row counts out of range")
        draw_header(&expected, found.workers, found.endpoints)
        if (
            memcmp(&found, &expected, sizeof(RegionHeader)) != 0
            or size_bytes != expected.size_bytes
        ):
            raise ValueError("shared memory: another build laid it out differently")
        region.point(found.workers, found.endpoints)
        return region

    cdef int map_fd(self) except -1:
        cdef void *base = mmap(
            NULL, self._size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0
        )
        if base == MAP_FAILED:
            raise OSError(c_errno, os.strerror(c_errno))
        self._base = base
        return 0

    cdef void point(self, int workers, int endpoints) noexcept:
        """Aim `shared` at the tables. Counts and places are this build's own."""
        cdef RegionHeader header
        cdef char *base = <char *>self._base
        draw_header(&header, workers, endpoints)
        self.shared.header = <RegionHeader *>base
        self.shared.workers = <WorkerRow *>(base + header.workers_offset)
        self.shared.endpoints = <EndpointSlot *>(base + header.endpoints_offset)
        self.shared.cells = <int32_t *>(base + header.cells_offset)
        self.shared.counts = <EndpointCount *>(base + header.counts_offset)
        self.shared.n_workers = workers
        self.shared.n_endpoints = endpoints
        self.shared.columns = header.columns

    # --- worker rows

    cdef WorkerRow *row(self, int slot) except NULL:
        if not 0 <= slot < self.shared.n_workers:
            raise IndexError(f"worker slot {slot} not in 0..{self.workers - 1}")
        return self.shared.workers + slot

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
            fg_cas32(&row.state, WORKER_DEAD, WORKER_BOOTING)

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
            cell = s.cells + i * s.columns + slot
            held = fg_load32(cell)
            if held != 0:  # a page that was never written stays unallocated
                leases += max(0, held)
                fg_store32(cell, 0)
        fg_store32(&row.connections, 0)
        fg_store32(&row.exchanges, 0)
        fg_store32(&row.upstream_connections, 0)
        fg_store32(&row.state, WORKER_DEAD)
        fg_store32(&row.pid, 0)
        return leases

    def worker(self, int slot):
        """One row as a dict: identity, gauges, and totals since the slot was made.

        `pid` is 0 in a row without a process; `statuses[3]` counts the 3xx sent,
        `statuses[0]` exchanges that ended without any status.
        """
        cdef WorkerRow *row = self.row(slot)
        cdef int64_t now_ms = monotonic_ms()
        cdef int i
        return {
            "pid": fg_load32(&row.pid),
            "generation": fg_load32(&row.generation),
            "state": WORKER_STATE_NAMES.get(fg_load32(&row.state), "invalid"),
            "heartbeat_age_ms": max(0, now_ms - fg_load(&row.heartbeat_ms)),
            "age_ms": max(0, now_ms - fg_load(&row.started_ms)),
            "connections": fg_load32(&row.connections),
            "exchanges": fg_load32(&row.exchanges),
            "upstream_connections": fg_load32(&row.upstream_connections),
            "accepted": fg_load(&row.accepted),
            "refused": fg_load(&row.refused),
            "retired": fg_load(&row.retired),
            "requests": fg_load(&row.requests),
            "bytes_in": fg_load(&row.bytes_in),
            "bytes_out": fg_load(&row.bytes_out),
            "faults": fg_load(&row.faults),
            "retries": fg_load(&row.retries),
            "log_lines_dropped": fg_load(&row.log_lines_dropped),
            "statuses": [fg_load(&row.statuses[i]) for i in range(STATUS_CLASSES)],
        }

    # --- endpoint slots

    cdef EndpointSlot *slot(self, int index) except NULL:
        if not 0 <= index < self.shared.n_endpoints:
            raise IndexError(f"endpoint {index} not in 0..{self.endpoints - 1}")
        return self.shared.endpoints + index

    def endpoint(self, int index):
        """One endpoint over all workers, as a dict.

        `in_flight`, `total`, `failures` and `connects` are sums; `skipped_ms` is
        how long a passive mark still passes it over; `latency_us` 0 = no sample.
        """
        cdef EndpointSlot *slot = self.slot(index)
        cdef Shared *s = &self.shared
        cdef EndpointCount *count
        cdef int64_t total = 0, failures = 0, connects = 0
        cdef int worker
        for worker in range(s.n_workers):
            count = s.counts + worker * s.n_endpoints + index
            total += fg_load(&count.total)
            failures += fg_load(&count.failures)
            connects += fg_load(&count.connects)
        return {
            "state": SLOT_STATE_NAMES.get(fg_load32(&slot.state), "invalid"),
            "weight": fg_load32(&slot.weight),
            "in_flight": in_flight(s, index),
            "total": total,
            "failures": failures,
            "connects": connects,
            "latency_us": fg_load(&slot.latency_ns) // 1000,
            "skipped_ms": max(0, fg_load(&slot.skip_until_ms) - monotonic_ms()),
        }

    def set_endpoint(self, int index, *, state=None, weight=None):
        """Steward: `up`, `down` or `draining`; weight 1..256. None = as it is.

        Both are checked before either is written. Raises ValueError.
        """
        cdef EndpointSlot *slot = self.slot(index)
        if state is not None and state not in SLOT_STATES:
            raise ValueError(f"endpoint state: {state!r}")
        if weight is not None and not 1 <= weight <= MAX_WEIGHT:
            raise ValueError(f"weight: {weight} not in 1..{MAX_WEIGHT}")
        if weight is not None:
            fg_store32(&slot.weight, weight)
        if state is not None:
            fg_store32(&slot.state, SLOT_STATES[state])
