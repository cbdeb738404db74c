"""Which endpoints are in each upstream's group: as shared memory says.

Runs in: worker. places.pyx has the life of a row. What it says is copied once for each
version of the membership, and checked as everything that others wrote; choosing reads
the copies alone.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastgate.dataplane.balance.endpoint cimport Endpoint
from fastgate.dataplane.balance.policies cimport Group, group_free, group_init
from fastgate.dataplane.base.atomics cimport fg_load32, fg_observe
from fastgate.dataplane.base.hashing cimport hash_bytes
from fastgate.dataplane.base.system cimport sockaddr_storage
from fastgate.dataplane.plan.upstream cimport UpstreamPlan
from fastgate.dataplane.shared.places cimport ADDRESS_BYTES, Place, place, slots_used

# An endpoint's identity must be the same in every worker and after a restart.
cdef uint64_t IDENTITY_SEED = 0x66617374


cdef int members_make(Worker *w) except -1:
    """Groups without a member. Raises MemoryError: members_free() them."""
    w.groups = <Group *>calloc(w.n_upstreams + 1, sizeof(Group))
    w.endpoints = <Endpoint *>calloc(w.n_endpoints + 1, sizeof(Endpoint))
    w.is_member = <uint8_t *>calloc(w.n_endpoints + 1, 1)
    w.ejected = <uint8_t *>calloc(w.n_endpoints + 1, 1)
    w.members_version = -1
    if (
        w.groups is NULL or w.endpoints is NULL or w.is_member is NULL
        or w.ejected is NULL
    ):
        raise MemoryError("worker")
    for i in range(w.n_upstreams):
        make_group(w, &w.groups[i], i, 0)
    return 0


cdef void members_free(Worker *w) noexcept:
    cdef int i
    if w.groups is not NULL:
        for i in range(w.n_upstreams):
            group_free(&w.groups[i])
    free(w.groups)
    free(w.endpoints)
    free(w.is_member)
    free(w.ejected)


cdef int make_group(Worker *w, Group *g, int upstream, int n) except -1:
    cdef const UpstreamPlan *u = &w.upstream_plans[upstream]
    # The slot as seed: workers do not walk the endpoints in step.
    group_init(g, u.policy, n, u.hash_bound_percent, <uint64_t>w.slot)
    g.slow_start_ms = u.slow_start_ms
    return 0


cdef bint members_follow(Worker *w, int64_t version) noexcept nogil:
    """Make the groups what the rows say.

    version  of the membership, as read before
    returns  False without memory: the groups are as they were, to be tried again

    An endpoint that is a member no more is in no group, and keeps its copy.
    """
    cdef int *sizes = <int *>calloc(w.n_upstreams + 1, sizeof(int))
    cdef Group *groups = <Group *>calloc(w.n_upstreams + 1, sizeof(Group))
    cdef bint made = sizes is not NULL and groups is not NULL
    cdef int i
    if made:
        w.n_used = slots_used(w.shared)
        for i in range(w.n_used):
            w.is_member[i] = copy_row(w, i)
            if w.is_member[i]:
                sizes[w.endpoints[i].upstream] += 1
        made = make_groups(w, groups, sizes)
    if made:
        memset(sizes, 0, <size_t>w.n_upstreams * sizeof(int))
        for i in range(w.n_used):
            if w.is_member[i]:
                join(w, groups, i, sizes)
        with gil:
            for i in range(w.n_upstreams):
                # Where round robin stands goes on.
                groups[i].virtual_time = w.groups[i].virtual_time
                group_free(&w.groups[i])
        memcpy(w.groups, groups, <size_t>w.n_upstreams * sizeof(Group))
        w.members_version = version
    free(sizes)
    free(groups)
    return made


cdef bint make_groups(Worker *w, Group *groups, const int *sizes) noexcept with gil:
    cdef int i, k
    for i in range(w.n_upstreams):
        try:
            make_group(w, &groups[i], i, sizes[i])
        except (MemoryError, ValueError):
            for k in range(i):
                group_free(&groups[k])
            return False
    return True


cdef void join(Worker *w, Group *groups, int endpoint, int *sizes) noexcept nogil:
    cdef Endpoint *e = &w.endpoints[endpoint]
    cdef Group *g = &groups[e.upstream]
    e.member = sizes[e.upstream]
    sizes[e.upstream] += 1
    g.members[e.member] = endpoint
    g.identities[e.member] = e.identity


cdef bint copy_row(Worker *w, int endpoint) noexcept nogil:
    """Is it a member of one of our upstreams? Then its copy is made, if it is new."""
    cdef const Place *row = place(w.shared, endpoint)
    cdef Endpoint *e = &w.endpoints[endpoint]
    cdef int64_t owner = fg_observe(&row.owner)
    cdef int upstream
    cdef int64_t length
    if owner == 0 or not fg_load32(&row.lanes) & w.lanes:
        return False
    if w.is_member[endpoint] and owner == e.owner:
        return True
    upstream = upstream_of(w, owner)
    length = row.address_len
    if upstream < 0 or not 0 <= length <= ADDRESS_BYTES:
        return False
    if not 0 <= row.socket_address_len <= <int>sizeof(sockaddr_storage):
        return False
    e.upstream = upstream
    e.owner = owner
    # What was told of who was here before is not told of the newcomer.
    w.n_ejected -= w.ejected[endpoint]
    w.ejected[endpoint] = 0
    memcpy(e.text, row.address, ADDRESS_BYTES)
    e.address.at = e.text
    e.address.len = <uint32_t>length
    e.identity = hash_bytes(e.text, <size_t>length, IDENTITY_SEED)
    e.socket_address_len = row.socket_address_len
    memcpy(&e.socket_address, &row.socket_address, sizeof(sockaddr_storage))
    return True


cdef int upstream_of(const Worker *w, int64_t owner) noexcept nogil:
    """The upstream with that id, or -1. A walk: made for a newcomer alone."""
    cdef int i
    for i in range(w.n_upstreams):
        if w.upstream_plans[i].id == owner:
            return i
    return -1
