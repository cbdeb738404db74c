"""The rooms of balance, and slots, opened to pytest.

Runs in: tests only. Arguments are checked here, for the rooms themselves trust
their callers. The `time_*` functions loop in C and return nanoseconds of CPU a
turn, so that neither Python's calls nor other processes' time are measured.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from fastgate.dataplane.balance cimport budget, policies
from fastgate.dataplane.base.atomics cimport fg_store, fg_store32
from fastgate.dataplane.base.hashing cimport GOLDEN, hash_bytes
from fastgate.dataplane.shared cimport slots
from fastgate.dataplane.shared.region cimport TABLE_ENDPOINTS, Shared

cdef extern from "<sys/mman.h>" nogil:
    enum:
        PROT_READ
        PROT_WRITE
        MAP_PRIVATE
        MAP_ANONYMOUS
        MADV_NOHUGEPAGE
    void *mmap(void *at, size_t n, int prot, int flags, int fd, long offset)
    int munmap(void *at, size_t n)
    int madvise(void *at, size_t n, int advice)
    int mincore(void *at, size_t n, unsigned char *seen)

cdef extern from * nogil:
    """
    #define fg_probe_add(p, d) __atomic_fetch_add((p), (d), __ATOMIC_RELAXED)
    """
    int32_t fg_probe_add(int32_t *p, int32_t d)

NO_ENDPOINT = policies.NO_ENDPOINT
NO_ROOM = policies.NO_ROOM

cdef enum:
    MAX_TRIED = 64


cdef Shared *shared_of(slots.Region region, int worker, int endpoint) except NULL:
    if not 0 <= worker < region.shared.n_workers:
        raise IndexError(worker)
    if not 0 <= endpoint < region.shared.n_endpoints:
        raise IndexError(endpoint)
    return &region.shared


cdef double now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return now.tv_sec * 1e9 + now.tv_nsec


# --- slots


def lease(slots.Region region, int worker, int endpoint):
    slots.lease(shared_of(region, worker, endpoint), worker, endpoint)


def settle(slots.Region region, int worker, int endpoint, bint failed=False):
    slots.settle(shared_of(region, worker, endpoint), worker, endpoint, failed)


def in_flight(slots.Region region, int endpoint):
    return slots.in_flight(shared_of(region, 0, endpoint), endpoint)


def number_row(slots.Region region, int worker):
    """Give each 4 bytes of a row another number; the fields by their names in C."""
    cdef slots.WorkerRow *row = slots.worker_row(shared_of(region, worker, 0), worker)
    cdef int i
    for i in range(<int>(sizeof(slots.WorkerRow) // 4)):
        fg_store32(<int32_t *>row + i, i + 1)
    return dict(row[0])


def mark(slots.Region region, int endpoint, int64_t skip_until_ms):
    cdef Shared *s = shared_of(region, 0, endpoint)
    fg_store(&slots.endpoint_slot(s, endpoint).skip_until_ms, skip_until_ms)


def set_since(slots.Region region, int endpoint, int64_t since_ms):
    cdef Shared *s = shared_of(region, 0, endpoint)
    fg_store(&slots.endpoint_slot(s, endpoint).since_ms, since_ms)


def set_failures(slots.Region region, int endpoint, int in_a_row):
    cdef Shared *s = shared_of(region, 0, endpoint)
    fg_store32(&slots.endpoint_slot(s, endpoint).consecutive_failures, in_a_row)


def set_latency(
    slots.Region region, int endpoint, int64_t latency_us, int64_t at_ms=0
):
    cdef Shared *s = shared_of(region, 0, endpoint)
    fg_store(&slots.endpoint_slot(s, endpoint).latency_ns, latency_us * 1000)
    fg_store(&slots.endpoint_slot(s, endpoint).latency_at_ms, at_ms)


def latency_after(int64_t latency_ns, int64_t sample_ns, int64_t elapsed_ms):
    return policies.latency_after(latency_ns, sample_ns, elapsed_ms)


def vandalise(slots.Region region, int endpoint, int value32, int64_t value64):
    """Every word of one slot and its cells, as a broken worker might leave it."""
    cdef Shared *s = shared_of(region, 0, endpoint)
    cdef int i
    fg_store32(&slots.endpoint_slot(s, endpoint).weight, value32)
    fg_store(&slots.endpoint_slot(s, endpoint).latency_ns, value64)
    fg_store(&slots.endpoint_slot(s, endpoint).latency_at_ms, value64)
    fg_store(&slots.endpoint_slot(s, endpoint).skip_until_ms, value64)
    for i in range(s.n_workers):
        fg_store32(slots.lease_cell(s, i, endpoint), value32)


def vandalise_layers(slots.Region region, int endpoint, int admin, int health):
    """The reasons for a state without the state, as somebody killed may leave it."""
    cdef Shared *s = shared_of(region, 0, endpoint)
    fg_store32(&slots.endpoint_slot(s, endpoint).admin, admin)
    fg_store32(&slots.endpoint_slot(s, endpoint).health, health)


# --- balance


cdef class Group:
    """One upstream in one worker. `identities` default to hashes of the index."""

    def __cinit__(
        self, str policy, members, *, identities=None, int bound_percent=0,
        uint64_t seed=0, int64_t slow_start_ms=0,
    ):
        cdef bytes address
        cdef int i
        members = list(members)
        policies.group_init(
            &self.group,
            policies.policy_named(policy),
            len(members),
            bound_percent,
            seed,
        )
        self.group.slow_start_ms = slow_start_ms
        for i, member in enumerate(members):
            self.group.members[i] = member
            address = b"10.0.0.%d:80" % <int>member
            self.group.identities[i] = (
                hash_bytes(<const char *>address, len(address), 1)
                if identities is None else identities[i]
            )

    def __dealloc__(self):
        policies.group_free(&self.group)

    cdef int choose(
        self, region, uint64_t key, uint64_t draw, int64_t now_ms, tried
    ) except -3:
        cdef policies.Choice choice
        cdef int32_t at[MAX_TRIED]
        cdef int i
        cdef Shared *s
        if len(tried) > MAX_TRIED:
            raise ValueError("tried")
        for i in range(self.group.n):
            shared_of(region, 0, self.group.members[i])
        for i, endpoint in enumerate(tried):
            at[i] = endpoint
        choice.key = key
        choice.draw = draw
        choice.now_ms = now_ms
        choice.tried = at
        choice.n_tried = <int>len(tried)
        s = shared_of(region, 0, 0)
        return policies.pick(&self.group, s, &choice)

    def pick(
        self, region, *, uint64_t key=0, uint64_t draw=0, int64_t now_ms=0, tried=()
    ):
        return self.choose(region, key, draw, now_ms, tried)

    def set_full(self, int i, bint is_full=True):
        """The i-th member is at its connection limit, or no more."""
        if not 0 <= i < self.group.n:
            raise IndexError(i)
        policies.set_full(&self.group, i, is_full)

    def turn_clock(self, uint64_t by):
        """Let round robin's virtual time pass without a turn."""
        self.group.virtual_time += by

    def pick_keys(self, slots.Region region, int n, uint64_t seed):
        """The picks of n pseudo-random keys (and draws), as a list."""
        cdef policies.Choice choice
        cdef int i
        picks = []
        shared_of(region, 0, 0)
        memset(&choice, 0, sizeof(choice))
        for i in range(n):
            choice.key = hash_bytes(<const char *>&i, sizeof(i), seed)
            choice.draw = hash_bytes(<const char *>&i, sizeof(i), ~seed)
            picks.append(policies.pick(&self.group, &region.shared, &choice))
        return picks


def pages_looked_at(str policy, int n):
    """Pages of endpoint slots that a pick reads in a group of n, all of them full.

    The slots are fresh memory, of which the kernel knows what was ever touched.
    """
    cdef policies.Group group
    cdef policies.Choice choice
    cdef Shared s
    cdef slots.EndpointSlot *first
    cdef size_t size = <size_t>n * sizeof(slots.EndpointSlot)
    cdef size_t n_pages = (size + 4095) // 4096
    cdef unsigned char *seen
    cdef int i
    memset(&s, 0, sizeof(s))
    memset(&choice, 0, sizeof(choice))
    first = <slots.EndpointSlot *>mmap(
        NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
    )
    if first is <void *>-1:
        raise MemoryError("slots")
    seen = <unsigned char *>calloc(n_pages, 1)
    madvise(first, size, MADV_NOHUGEPAGE)
    s.tables[TABLE_ENDPOINTS] = first
    first.state = slots.SLOT_UP
    first.weight = 1
    policies.group_init(&group, policies.policy_named(policy), n, 0, 0)
    for i in range(n):
        group.members[i] = i
        policies.set_full(&group, i, True)
    try:
        if policies.pick(&group, &s, &choice) != policies.NO_ROOM:
            raise AssertionError("a full group gave an endpoint")
        mincore(first, size, seen)
        return sum(seen[i] & 1 for i in range(n_pages))
    finally:
        munmap(first, size)
        free(seen)
        policies.group_free(&group)


def group_is_free_after_two_frees():
    cdef policies.Group group
    policies.group_init(&group, policies.policy_named("hash"), 3, 0, 0)
    policies.group_free(&group)
    policies.group_free(&group)
    return group.members is NULL and group.n == 0


def raw_group(str policy, int n, int bound_percent):
    """group_init with any name and numbers."""
    cdef policies.Group group
    policies.group_init(&group, policies.policy_named(policy), n, bound_percent, 0)
    policies.group_free(&group)


# --- the retry budget


cdef class Budget:
    def __cinit__(self):
        memset(&self.budget, 0, sizeof(self.budget))

    def note_request(self, int percent):
        budget.budget_note_request(&self.budget, percent)

    def take(self, int percent, int64_t now_ms):
        return budget.budget_take(&self.budget, percent, now_ms)


# --- time, in nanoseconds a turn


def time_lease_settle(slots.Region region, int worker, int64_t n):
    cdef Shared *s = shared_of(region, worker, 0)
    cdef double start
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            slots.lease(s, worker, 0)
            slots.settle(s, worker, 0, False)
        start = now_ns() - start
    return start / n


def time_cells(slots.Region region, int worker, int64_t n):
    """Only the gauge: one plain store up, one down, in this worker's own cell."""
    cdef Shared *s = shared_of(region, worker, 0)
    cdef double start
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            slots.fg_bump32(slots.lease_cell(s, worker, 0), 1)
            slots.fg_bump32(slots.lease_cell(s, worker, 0), -1)
        start = now_ns() - start
    return start / n


def time_fetch_add(slots.Region region, int64_t n):
    """The alternative: one shared word, locked up and locked down."""
    cdef Shared *s = shared_of(region, 0, 0)
    cdef double start
    cdef int64_t _i
    with nogil:
        start = now_ns()
        for _i in range(n):
            fg_probe_add(slots.lease_cell(s, 0, 0), 1)
            fg_probe_add(slots.lease_cell(s, 0, 0), -1)
        start = now_ns() - start
    return start / n


def time_in_flight(slots.Region region, int64_t n):
    cdef Shared *s = shared_of(region, 0, 0)
    cdef double start
    cdef int64_t i, total = 0
    with nogil:
        start = now_ns()
        for i in range(n):
            total += slots.in_flight(s, <int>(i & 1))
        start = now_ns() - start
    if total != 0:
        raise AssertionError("the region was not idle")
    return start / n


def time_pick(Group group, slots.Region region, int64_t n):
    """Pick, lease, and settle what was leased some picks ago, as a worker does."""
    cdef Shared *s = shared_of(region, 0, 0)
    cdef policies.Choice choice
    cdef double start
    cdef int held[8]
    cdef int64_t i
    cdef int slot
    memset(&choice, 0, sizeof(choice))
    memset(held, 0xFF, sizeof(held))
    with nogil:
        start = now_ns()
        for i in range(n):
            choice.key = <uint64_t>i * GOLDEN
            choice.draw = choice.key ^ <uint64_t>0x5555555555555555U
            slot = <int>(i & 7)
            if held[slot] >= 0:
                slots.settle(s, 0, held[slot], False)
            held[slot] = policies.pick(&group.group, s, &choice)
            if held[slot] >= 0:
                slots.lease(s, 0, held[slot])
        start = now_ns() - start
    for slot in range(8):
        if held[slot] >= 0:
            slots.settle(s, 0, held[slot], False)
    return start / n
