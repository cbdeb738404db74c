"""Choosing an endpoint: one pure function per policy.

Runs in: worker. Randomness and time come in as arguments, so tests are exact.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from fastgate.dataplane.shared.region cimport Shared

cdef enum:
    NO_ENDPOINT = -1
    NO_ROOM = -2                # there would be one, but for its connection limit

cdef struct Group

cdef struct Choice:             # what one pick may use
    uint64_t key                # hash of the balancing key; 0 if it needs none
    uint64_t draw               # 64 random bits
    int64_t now_ms              # CLOCK_MONOTONIC
    const int32_t *tried        # [n_tried] endpoint indexes already tried
    int n_tried

ctypedef int (*pick_fn)(
    Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil

cdef struct Policy:             # a row of the table in policies.pyx
    pick_fn pick
    uint8_t needs_key

cdef struct Group:              # one upstream in one worker
    const Policy *policy
    int n                       # members
    int bound_percent           # hash only: bounded load, 0 = unbounded
    int64_t slow_start_ms       # 0 = none. The caller's to write, before the first pick
    int *members                # [n] indexes of endpoint slots
    uint64_t *identities        # [n] hash of each member's address (ring placement)
    uint64_t *deadlines         # [n] round robin's virtual deadlines
    uint64_t *phases            # [n] round robin's places in the cycle
    int *weights                # [n] the weights that these places were made for
    uint64_t virtual_time       # round robin's clock
    uint8_t *full               # [n] at its connection limit in this worker
    int n_full                  # of them

cdef inline bint has_room(const Group *g) noexcept nogil:
    """Is it worth asking? A group without members answers too: there is none."""
    return g.n_full < g.n or g.n == 0

cdef const Policy *policy_named(str name) except NULL
cdef int pick(Group *g, Shared *s, const Choice *c) noexcept nogil
cdef bint another(
    const Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil
cdef void set_full(Group *g, int i, bint is_full) noexcept nogil
# Fills in all but members and identities, which are the caller's to write.
cdef int group_init(
    Group *g, const Policy *policy, int n, int bound_percent, uint64_t seed
) except -1
cdef void group_free(Group *g) noexcept
cdef int64_t latency_after(
    int64_t latency_ns, int64_t sample_ns, int64_t elapsed_ms
) noexcept nogil
