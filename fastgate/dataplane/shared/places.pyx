"""Where endpoints are, and to which upstream each belongs.

Runs in: every process.

An endpoint is a slot of shared memory for as long as some generation of workers has it
as a member, so that what is known of it outlives a reload. The rows have two parts with
one writer each: the first are the master's, for what configurations name, the rest the
steward's, for what is found or added at run time. Both go by the same rules:

    free       owner 0. No worker has it as a member, none has a connection to it.
      take     the row is written, its owner last, then the version grows:
    a member   workers see the version, copy the row for themselves, and choose it.
      give up  no lane is left: state and owner go, then the version grows. Workers
               see it, close what they keep idle, and write that version into their row.
    given up   nobody may take it yet: a worker that does not know may still choose it,
               another has a request under way there.
      free     every living worker has said so, and nothing is in flight.

A row does not change while it has an owner, but for its lanes and its weight. So
whoever copies it copies one address; and no connection, lease or count made for one
endpoint can come to be another's.
"""

cimport cython
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, memset

from fastgate.dataplane.base.atomics cimport (
    fg_fence, fg_load, fg_load32, fg_publish, fg_store, fg_store32,
)
from fastgate.dataplane.base.hashing cimport hash_bytes
from fastgate.dataplane.base.system cimport (
    AF_INET, AF_INET6, AF_UNIX, htons, inet_pton, sockaddr_in, sockaddr_in6,
    sockaddr_un,
)
from fastgate.dataplane.shared.region cimport row_bytes
from fastgate.dataplane.shared.slots cimport (
    MAX_WEIGHT, SLOT_DOWN, SLOT_UNUSED, SLOT_UP, EndpointSlot, Region, WorkerRow,
    endpoint_count, endpoint_slot, in_flight, worker_row,
)

assert sizeof(Place) == row_bytes(TABLE_PLACES)
assert sizeof(Membership) == row_bytes(TABLE_MEMBERSHIP)

# The same in every process, and after an upgrade.
cdef enum:
    OWNER_SEED = 0x6F776E

# Later than every version: the writer has not said yet that the row is given up.
cdef int64_t NOT_PUBLISHED = 0x7FFFFFFFFFFFFFFF


cdef int64_t upstream_id(str name) except 0:
    """What stands for an upstream where its index would not: over all generations."""
    cdef bytes text = name.encode()
    return <int64_t>(hash_bytes(text, len(text), OWNER_SEED) | 1)


cdef int slots_used(Shared *s) noexcept nogil:
    """Slots that may have a member: all from this one on never had."""
    cdef Membership *m = membership(s)
    cdef int configured = fg_load32(&m.configured_used)
    cdef int found = fg_load32(&m.found_used)
    if found > 0:
        configured = s.n_endpoints - s.n_found + found
    return max(0, min(configured, s.n_endpoints))


@cython.final
cdef class Members:
    """One writer's part of the rows.

    found  the steward's part, for endpoints that no configuration names; else the
           master's
    """

    cdef Region region
    cdef bint found
    cdef int first
    cdef int end

    def __init__(self, Region region, *, bint found=False):
        cdef int configured = region.shared.n_endpoints - region.shared.n_found
        self.region = region
        self.found = found
        self.first = configured if found else 0
        self.end = region.shared.n_endpoints if found else configured

    @property
    def room(self):
        """Rows of this part, used or not."""
        return self.end - self.first

    def take(
        self, str upstream, str address, *, str family, host, int port, int scope=0,
        int weight=1, str health="unchecked", int lanes=ALL_LANES,
    ):
        """Make an endpoint a member of an upstream; returns its slot.

        address  as people write it
        family   inet, inet6 or unix
        host     a literal, or a path; None: its name did not resolve, and it is down
        weight   and
        health   that a newcomer begins with
        lanes    the generations that have it, a bit each
        One that is a member already, at the same address, keeps its slot and what is
        known of it. Nothing is seen of it before `publish`. Raises ValueError for what
        has no meaning, IndexError when no row is free.
        """
        cdef Shared *s = &self.region.shared
        cdef Place wanted
        cdef Place *row
        cdef EndpointSlot *slot
        cdef int i
        fill_place(&wanted, upstream, address, family, host, port, scope, weight, lanes)
        i = self._find(&wanted)
        if i >= 0:
            row = place(s, i)
            fg_store32(&row.lanes, fg_load32(&row.lanes) | lanes)
            return i
        i = self._free_row()
        self._clear(i)
        row = place(s, i)
        slot = endpoint_slot(s, i)
        fg_store32(&slot.weight, weight)
        # Unused it is down, and settled by set_health: since now, if it comes up.
        fg_store32(&slot.state, SLOT_DOWN if is_serving(s) else SLOT_UP)
        self.region.set_health(i, "down" if host is None else health)
        row.given_up_at = 0
        row.weight = wanted.weight
        row.lanes = wanted.lanes
        row.socket_address_len = wanted.socket_address_len
        row.address_len = wanted.address_len
        memcpy(&row.socket_address, &wanted.socket_address, sizeof(sockaddr_storage))
        memcpy(row.address, wanted.address, ADDRESS_BYTES)
        fg_publish(&row.owner, wanted.owner)
        return i

    def give_up(self, int index, int lanes=ALL_LANES):
        """These generations have it no more; without any, it is nobody's.

        Nothing is seen of it before `publish`, but that it takes nothing new.
        """
        cdef Shared *s = &self.region.shared
        cdef Place *row
        cdef int left
        self._check(index)
        row = place(s, index)
        if row.owner == 0:
            return
        left = fg_load32(&row.lanes) & ~lanes & ALL_LANES
        fg_store32(&row.lanes, left)
        if left == 0:
            fg_store32(&endpoint_slot(s, index).state, SLOT_UNUSED)
            fg_store(&row.given_up_at, NOT_PUBLISHED)
            fg_publish(&row.owner, 0)

    def weigh(self, int index, int weight):
        """Its configuration says this weight: it holds if that said another before."""
        cdef Place *row
        self._check(index)
        row = place(&self.region.shared, index)
        if fg_load32(&row.weight) != weight:
            self.region.set_endpoint(index, weight=weight)
            fg_store32(&row.weight, weight)

    def publish(self):
        """Let workers see what changed.

        A successor of a writer that died before it could do so does it too.
        """
        cdef Shared *s = &self.region.shared
        cdef Membership *m = membership(s)
        cdef int64_t *version = (
            &m.found_version if self.found else &m.configured_version
        )
        cdef int64_t now
        cdef int i
        fg_publish(version, fg_load(version) + 1)
        fg_fence()
        # Read only now: who sees this version, or a later one, sees it without owner.
        now = membership_version(s)
        for i in range(self.first, self.first + self._used()):
            if fg_load(&place(s, i).given_up_at) == NOT_PUBLISHED:
                fg_store(&place(s, i).given_up_at, now)

    def slots(self):
        """Members of this part: (slot, lanes), in the order of slots."""
        cdef Shared *s = &self.region.shared
        cdef int i
        return [
            (i, fg_load32(&place(s, i).lanes))
            for i in range(self.first, self.first + self._used())
            if fg_load(&place(s, i).owner) != 0
        ]

    cdef int _check(self, int index) except -1:
        if not self.first <= index < self.end:
            raise IndexError(f"endpoint {index} not in {self.first}..{self.end - 1}")
        return 0

    cdef int _used(self) noexcept:
        cdef Membership *m = membership(&self.region.shared)
        cdef int used = fg_load32(&m.found_used if self.found else &m.configured_used)
        return max(0, min(used, self.end - self.first))

    cdef int _find(self, const Place *wanted) noexcept:
        cdef const Place *row
        cdef int i
        for i in range(self.first, self.first + self._used()):
            row = place(&self.region.shared, i)
            if (
                row.owner == wanted.owner
                and row.address_len == wanted.address_len
                and row.socket_address_len == wanted.socket_address_len
                and memcmp(row.address, wanted.address, ADDRESS_BYTES) == 0
                and memcmp(
                    &row.socket_address, &wanted.socket_address,
                    sizeof(sockaddr_storage),
                ) == 0
            ):
                return i
        return -1

    cdef int _free_row(self) except -1:
        """A row that no worker can have to do with any more."""
        cdef Shared *s = &self.region.shared
        cdef Membership *m = membership(s)
        cdef int used = self._used()
        cdef int64_t seen = least_seen(s)
        cdef int i
        for i in range(self.first, self.first + used):
            if (
                place(s, i).owner == 0
                and place(s, i).given_up_at <= seen
                and in_flight(s, i) <= 0
            ):
                return i
        if used == self.end - self.first:
            raise IndexError(f"no room for another endpoint: {used} are in use")
        fg_store32(&m.found_used if self.found else &m.configured_used, used + 1)
        return self.first + used

    cdef void _clear(self, int index) noexcept:
        """Nothing is known of a newcomer, and nothing of who was here before."""
        cdef Shared *s = &self.region.shared
        cdef int worker
        memset(endpoint_slot(s, index), 0, sizeof(EndpointSlot))
        for worker in range(s.n_workers):
            memset(
                endpoint_count(s, worker, index), 0,
                sizeof(endpoint_count(s, worker, index)[0]),
            )


cdef bint is_serving(Shared *s) noexcept:
    """Is there a worker? Who is a member before there is one is no newcomer."""
    cdef int i
    for i in range(s.n_workers):
        if fg_load32(&worker_row(s, i).pid) != 0:
            return True
    return False


cdef int64_t least_seen(Shared *s) noexcept:
    """The membership version that every living worker has taken in."""
    cdef int64_t least = membership_version(s)
    cdef const WorkerRow *row
    cdef int i
    for i in range(s.n_workers):
        row = worker_row(s, i)
        if fg_load32(&row.pid) != 0:
            least = min(least, fg_load(&row.members_seen))
    return least


cdef int fill_place(
    Place *p, str upstream, str address, str family, object host, int port, int scope,
    int weight, int lanes,
) except -1:
    cdef bytes text = address.encode()
    if len(text) > ADDRESS_BYTES:
        raise ValueError(f"address too long: {address!r}")
    if not 1 <= weight <= MAX_WEIGHT:
        raise ValueError(f"weight: {weight} not in 1..{MAX_WEIGHT}")
    if not 0 < lanes <= ALL_LANES:
        raise ValueError(f"lanes: {lanes:#x}")
    memset(p, 0, sizeof(Place))
    p.owner = upstream_id(upstream)
    p.weight = weight
    p.lanes = lanes
    p.address_len = len(text)
    memcpy(p.address, <const char *>text, len(text))
    if host is not None:
        p.socket_address_len = fill_socket_address(
            &p.socket_address, family, host.encode(), port, scope
        )
    return 0


cdef int fill_socket_address(
    sockaddr_storage *at, str family, bytes host, int port, int scope
) except -1:
    """Returns its length. Raises ValueError for what is no address of the family."""
    cdef sockaddr_in *v4 = <sockaddr_in *>at
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *>at
    cdef sockaddr_un *unix = <sockaddr_un *>at
    if family == "inet":
        v4.sin_family = AF_INET
        v4.sin_port = htons(<uint16_t>port)
        if inet_pton(AF_INET, host, &v4.sin_addr) != 1:
            raise ValueError(f"not an IPv4 address: {host!r}")
        return sizeof(sockaddr_in)
    if family == "inet6":
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(<uint16_t>port)
        if inet_pton(AF_INET6, host, &v6.sin6_addr) != 1:
            raise ValueError(f"not an IPv6 address: {host!r}")
        v6.sin6_scope_id = scope
        return sizeof(sockaddr_in6)
    if family == "unix":
        if len(host) > MAX_UNIX_PATH_BYTES:
            raise ValueError(f"socket path too long: {host!r}")
        unix.sun_family = AF_UNIX
        memcpy(unix.sun_path, <const char *>host, len(host))
        return sizeof(sockaddr_un)
    raise ValueError(f"unknown address family: {family}")
