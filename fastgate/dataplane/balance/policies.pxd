"""Choosing an endpoint: one pure function per policy.

Runs in: worker. Randomness and time come in as arguments, so tests are exact.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from fastgate.dataplane.shared.region cimport Shared

cdef enum:
    NO_ENDPOINT = -1
    NO_ROOM = -2                # there would be one, but for its connection limit

cdef enum Policy:
    POLICY_ROUND_ROBIN = 0
    POLICY_LEAST_CONNECTIONS
    POLICY_RANDOM_TWO
    POLICY_IP_HASH
    POLICY_HASH
    POLICY_LEAST_TIME
    POLICY_COUNT

cdef struct Group:              # one upstream in one worker
    int policy                  # a Policy
    int n                       # members
    int bound_percent           # hash only: bounded load, 0 = unbounded
    int *members                # [n] indexes of endpoint slots
    uint64_t *identities        # [n] hash of each member's address (ring placement)
    uint64_t *deadlines         # [n] round robin's virtual deadlines
    uint64_t *phases            # [n] round robin's places in the cycle
    int *weights                # [n] the weights that these places were made for
    uint64_t virtual_time       # round robin's clock
    uint8_t *full               # [n] at its connection limit in this worker
    int n_full                  # of them

cdef struct Choice:             # what one pick may use
    uint64_t key                # hash of the balancing key (ip-hash, hash)
    uint64_t draw               # 64 random bits
    int64_t now_ms              # CLOCK_MONOTONIC
    const int32_t *tried        # [n_tried] endpoint indexes already tried
    int n_tried

cdef inline bint has_room(const Group *g) noexcept nogil:
    return g.n_full < g.n

cdef int pick(Group *g, Shared *s, const Choice *c) noexcept nogil
cdef void set_full(Group *g, int i, bint is_full) noexcept nogil
# Fills in all but members and identities, which are the caller's to write.
cdef int group_init(
    Group *g, int policy, int n, int bound_percent, uint64_t seed
) except -1
cdef void group_free(Group *g) noexcept
cdef int64_t latency_after(
    int64_t latency_ns, int64_t sample_ns, int64_t elapsed_ms
) noexcept nogil
