"""Choosing an endpoint: one pure function per policy.

Runs in: worker. Nothing here allocates after group_init, blocks, or asks the clock.

What all policies share. An endpoint may be chosen if the steward says UP, its
weight is positive, this worker has a connection left for it, this exchange has not
tried it, and no passive mark (consecutive failures seen by any worker) is still
running. If marks alone leave nothing, they
are ignored: endpoints that all look bad beat no answer at all, and one of them
must see traffic to recover (Envoy calls this the panic threshold). DOWN, DRAINING
and tried ones are never chosen. Load is read from the lease cells of all workers;
loads are compared per unit of weight by cross-multiplying, exactly.

Slow start. In a group that has one, an endpoint that came up at run time counts for
a tenth of its weight at first and for all of it after slow_start_ms, on a straight
line in RAMP_STEPS steps: round robin staggers anew whenever a weight changes, so it
must not change at each pick. For a tenth of 1 to be a whole number, all weights of
such a group are RAMP_SCALE times as large. Where all ramp alike, shares are as ever.

What other processes wrote is clamped when it is read, so that no value of theirs can
overflow a product here: a weight to 256, a load to 2^24 (2^36 of all members), a
latency to 2^50 ns.

Decisions and measurements: docs/decisions/0002-balancers.md.
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.math cimport log1p
from libc.stdint cimport uint8_t
from libc.string cimport memset

from fastgate.dataplane.base.atomics cimport fg_load, fg_load32
from fastgate.dataplane.base.hashing cimport GOLDEN, mixed
from fastgate.dataplane.shared.region cimport MAX_ENDPOINTS
from fastgate.dataplane.shared.slots cimport (
    MAX_WEIGHT, SLOT_UP, EndpointSlot, endpoint_slot, in_flight,
)

cdef enum:
    MIN_BOUND_PERCENT = 100     # below it, the members' bounds do not hold the load
    MAX_BOUND_PERCENT = 10000
    RAMP_SCALE = 16             # of weights in a group with slow start
    RAMP_STEPS = 16
    MAX_SCALED = MAX_WEIGHT * RAMP_SCALE
    HALF_LIFE_BITS = 12         # of a latency: 4096 ms

# Round robin's unit: one cycle gives each member as many turns as its weight. A
# power of two, so that a place in the cycle survives the wrap of 64 bits.
cdef uint64_t CYCLE = <uint64_t>1 << 56
cdef int64_t MAX_LOAD = <int64_t>1 << 24
cdef int64_t MAX_ALL_LOAD = <int64_t>1 << 36
cdef int64_t MAX_LATENCY_NS = <int64_t>1 << 50
# What a first answer may say: it came from a cold cache, over a cold connection.
cdef int64_t FIRST_LATENCY_NS = 1000000000

cdef uint64_t STRIDES[MAX_SCALED + 1]   # between two turns of a member, by weight


cdef void make_strides() noexcept:
    cdef int weight
    STRIDES[0] = CYCLE
    for weight in range(1, MAX_SCALED + 1):
        STRIDES[weight] = CYCLE // <uint64_t>weight


make_strides()


# --- what the policies share


cdef inline int clamped_weight(Shared *s, int endpoint) noexcept nogil:
    cdef int weight = fg_load32(&endpoint_slot(s, endpoint).weight)
    return 0 if weight < 0 else MAX_WEIGHT if weight > MAX_WEIGHT else weight


cdef int ramped(int weight, int64_t elapsed_ms, int64_t slow_start_ms) noexcept nogil:
    """`weight`, RAMP_SCALE times as large, of an endpoint up for `elapsed_ms`.

    elapsed_ms  below 0 it just came up: another process read the clock later
    """
    cdef int step = 0
    if elapsed_ms >= slow_start_ms:
        return weight * RAMP_SCALE
    if elapsed_ms > 0:
        step = <int>(elapsed_ms * RAMP_STEPS // slow_start_ms)
    # In hundredths of the unscaled weight: a tenth, and a step's part of the rest.
    cdef int hundredths = RAMP_SCALE * (10 + 90 * step // RAMP_STEPS)
    return (weight * hundredths + 50) // 100


cdef inline int weight_of(
    const Group *g, Shared *s, int endpoint, int64_t now_ms
) noexcept nogil:
    """What all policies go by: 0..MAX_WEIGHT, or ..MAX_SCALED with slow start."""
    cdef int weight = clamped_weight(s, endpoint)
    cdef int64_t since_ms
    if g.slow_start_ms == 0:
        return weight
    since_ms = fg_load(&endpoint_slot(s, endpoint).since_ms)
    if since_ms <= 0:           # up from the beginning
        return weight * RAMP_SCALE
    return ramped(weight, now_ms - since_ms, g.slow_start_ms)


cdef inline int64_t load_of(Shared *s, int endpoint) noexcept nogil:
    cdef int64_t load = in_flight(s, endpoint)
    return 0 if load < 0 else MAX_LOAD if load > MAX_LOAD else load


cdef inline int usable(
    const Group *g, Shared *s, const Choice *c, int i, bint heed_marks
) noexcept nogil:
    """The weight of the i-th member if this pick may take it, 0 for any other."""
    return 0 if g.full[i] else weight_but_for_room(g, s, c, i, heed_marks)


cdef inline int weight_but_for_room(
    const Group *g, Shared *s, const Choice *c, int i, bint heed_marks
) noexcept nogil:
    cdef int endpoint = g.members[i]
    cdef EndpointSlot *slot = endpoint_slot(s, endpoint)
    cdef int k
    if fg_load32(&slot.state) != SLOT_UP:
        return 0
    if heed_marks and c.now_ms < fg_load(&slot.skip_until_ms):
        return 0
    for k in range(c.n_tried):
        if c.tried[k] == endpoint:
            return 0
    return weight_of(g, s, endpoint, c.now_ms)


cdef bint would_fit(
    const Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """Is there a member that lacks nothing but room? Stops at the first."""
    cdef int i
    if g.n_full:
        for i in range(g.n):
            if g.full[i] and weight_but_for_room(g, s, c, i, heed_marks):
                return True
    return False


cdef inline bint wins_tie(
    uint64_t draw, int i, int weight, int64_t *tied_weight
) noexcept nogil:
    """Shall the i-th member replace the one it ties with?

    Weighted reservoir of one: called for each of the tied, in turn, it leaves each
    chosen with a chance in proportion to its weight (Chao 1982, Biometrika 69).
    """
    tied_weight[0] += weight
    cdef uint64_t bits = mixed(draw + <uint64_t>i * GOLDEN) >> 32
    return <int64_t>((bits * <uint64_t>tied_weight[0]) >> 32) < weight


# --- round robin


cdef inline uint64_t next_turn(
    uint64_t now, uint64_t phase, uint64_t stride
) noexcept nogil:
    """The member's first place in the cycle after `now`; at most a stride ahead."""
    cdef uint64_t position = now & (CYCLE - 1)
    if position < phase:
        return now + (phase - position)
    return now + stride - (position - phase) % stride


cdef void stagger(Group *g, Shared *s, int64_t now_ms) noexcept nogil:
    """Give every member its places in the cycle, from the weights of now.

    The members of one weight are spread evenly over its stride; that is all that
    keeps 5:1:1 from sending its two light members back to back. A place depends on
    the weights alone, not on the past: however often weights change, virtual time
    sweeps over each member's places as often as its weight says.
    """
    cdef int of_weight[MAX_SCALED + 1]
    cdef int rank[MAX_SCALED + 1]
    cdef size_t used = sizeof(int) * (
        (MAX_SCALED if g.slow_start_ms else MAX_WEIGHT) + 1
    )
    cdef int i, weight
    cdef uint64_t stride
    memset(of_weight, 0, used)
    memset(rank, 0, used)
    for i in range(g.n):
        g.weights[i] = weight_of(g, s, g.members[i], now_ms)
        of_weight[g.weights[i]] += 1
    for i in range(g.n):
        weight = g.weights[i]
        stride = STRIDES[weight]
        g.phases[i] = (
            stride // (2 * <uint64_t>of_weight[weight])
            * (2 * <uint64_t>rank[weight] + 1)
        )
        rank[weight] += 1
        g.deadlines[i] = next_turn(g.virtual_time, g.phases[i], stride)


cdef int pick_round_robin(
    Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """Weighted round robin: the earliest virtual deadline goes next.

    A turn puts the member's deadline one stride (CYCLE / weight) later. A member
    whose deadline is not within one stride ahead was passed over, perhaps for so
    long that the clock wrapped: it goes on at its next place in the cycle, so the
    turns it missed do not come back as a burst.
    Source: Demers, Keshav and Shenker 1989 (fair queueing); stride scheduling,
    Waldspurger and Weihl 1995. Envoy's schedulers keep deadlines in the same way.
    """
    cdef int best = NO_ENDPOINT
    cdef uint64_t least = 0
    cdef uint64_t ahead, stride
    cdef bint staggered = False
    cdef int weight, i = 0
    while i < g.n:
        weight = usable(g, s, c, i, heed_marks)
        if weight == 0:
            i += 1
            continue
        if weight != g.weights[i] and not staggered:
            # Once a pick is enough: a weight that changes again meanwhile waits
            # for the next one.
            stagger(g, s, c.now_ms)
            staggered = True
            best = NO_ENDPOINT
            i = 0
            continue
        stride = STRIDES[g.weights[i]]
        ahead = g.deadlines[i] - g.virtual_time
        if ahead > stride:
            g.deadlines[i] = next_turn(g.virtual_time, g.phases[i], stride)
            ahead = g.deadlines[i] - g.virtual_time
        if best == NO_ENDPOINT or ahead < least:
            best = i
            least = ahead
        i += 1
    if best == NO_ENDPOINT:
        return NO_ENDPOINT
    g.virtual_time += least
    g.deadlines[best] = g.virtual_time + STRIDES[g.weights[best]]
    return g.members[best]


# --- by load


cdef int pick_least_connections(
    Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """The fewest requests in flight per weight, counted over all workers.

    Ties, and an idle group is one big tie, are drawn in proportion to weight:
    always the first would send every worker's next request to the same place.
    """
    cdef int best = NO_ENDPOINT
    cdef int best_weight = 1
    cdef int64_t best_load = 0
    cdef int64_t load, here, there
    cdef int64_t tied_weight = 0
    cdef int i, weight
    for i in range(g.n):
        weight = usable(g, s, c, i, heed_marks)
        if weight == 0:
            continue
        load = load_of(s, g.members[i])
        here = load * best_weight
        there = best_load * weight
        if best == NO_ENDPOINT or here < there:
            tied_weight = weight
        elif here > there or not wins_tie(c.draw, i, weight, &tied_weight):
            continue
        best = g.members[i]
        best_load = load
        best_weight = weight
    return best


cdef int pick_random_two(
    Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """Draw two different endpoints by weight, keep the one less loaded per weight.

    Keeps the longest queue at O(log log n) with two loads read, and does not herd
    as least-connections can when many workers see the same minimum.
    Source: Mitzenmacher 2001, IEEE TPDS 12(10).
    """
    cdef int64_t all_weight = 0
    cdef int n_usable = 0
    cdef int first = NO_ENDPOINT, second = NO_ENDPOINT
    cdef int first_weight = 1, second_weight = 1
    cdef int i, weight, last = NO_ENDPOINT
    cdef int64_t at
    for i in range(g.n):
        weight = usable(g, s, c, i, heed_marks)
        if weight != 0:
            all_weight += weight
            n_usable += 1
            last = i
    if n_usable <= 1:
        return NO_ENDPOINT if last == NO_ENDPOINT else g.members[last]

    # A slot may change between these walks; then a walk can end without an answer.
    at = <int64_t>(((c.draw >> 32) * <uint64_t>all_weight) >> 32)
    for i in range(g.n):
        weight = usable(g, s, c, i, heed_marks)
        if weight == 0:
            continue
        first = i
        first_weight = weight
        at -= weight
        if at < 0:
            break
    if first == NO_ENDPOINT:
        return g.members[last]
    all_weight -= first_weight
    at = <int64_t>(((mixed(c.draw) >> 32) * <uint64_t>max(1, all_weight)) >> 32)
    for i in range(g.n):
        if i == first:
            continue
        weight = usable(g, s, c, i, heed_marks)
        if weight == 0:
            continue
        second = i
        second_weight = weight
        at -= weight
        if at < 0:
            break
    if second == NO_ENDPOINT:
        return g.members[first]
    if (
        load_of(s, g.members[first]) * second_weight
        <= load_of(s, g.members[second]) * first_weight
    ):
        return g.members[first]
    return g.members[second]


cdef inline int64_t decayed(int64_t value, int64_t elapsed_ms) noexcept nogil:
    """`value`, 0..2^50, halved every 4096 ms; between halvings on a straight line."""
    cdef int64_t halvings = elapsed_ms >> HALF_LIFE_BITS
    cdef int64_t rest = elapsed_ms & ((1 << HALF_LIFE_BITS) - 1)
    if elapsed_ms <= 0:
        return value
    if halvings > 50:
        return 0
    value >>= halvings
    return value - ((value * rest) >> (HALF_LIFE_BITS + 1))


cdef inline int64_t clamped_latency(int64_t latency_ns) noexcept nogil:
    return (
        0 if latency_ns < 0
        else MAX_LATENCY_NS if latency_ns > MAX_LATENCY_NS
        else latency_ns
    )


cdef int64_t latency_after(
    int64_t latency_ns, int64_t sample_ns, int64_t elapsed_ms
) noexcept nogil:
    """The moving average of an endpoint's latency, with one more sample.

    latency_ns  the average so far; 0: this is the first sample
    elapsed_ms  since that was written

    A peak counts at once, and is forgotten with time, however many or few samples
    come meanwhile: a sample weighs what the average has lost by then. The half-life
    of 4 s is a time constant of 6 s; Finagle's is 10 s.
    Source: Finagle's peak EWMA (com.twitter.finagle.loadbalancer.PeakEwma).
    """
    latency_ns = clamped_latency(latency_ns)
    sample_ns = clamped_latency(sample_ns)
    if latency_ns == 0:
        return max(<int64_t>1, min(sample_ns, FIRST_LATENCY_NS))
    if sample_ns >= latency_ns:
        return sample_ns
    return max(
        <int64_t>1,
        decayed(latency_ns, elapsed_ms) + sample_ns - decayed(sample_ns, elapsed_ms),
    )


cdef int pick_least_time(
    Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """The least latency * (requests in flight + 1) / weight.

    That is roughly how long this request would wait there. Latency is the peak EWMA
    of the time to the response head, kept by the workers. An endpoint without a
    sample counts as the best one seen, so a newcomer is tried at once and then held
    back by its own queue; and one that has not been asked for a while comes nearer
    to that as its average decays, so nobody is left alone for ever. Ties as in
    least-connections.
    Source: Finagle's peak-EWMA balancer, whose cost is the same product.
    """
    cdef int best = NO_ENDPOINT
    cdef double least = 0
    cdef double cost
    cdef EndpointSlot *slot
    cdef int64_t latency_ns, at_ms, best_latency_ns = 0
    cdef int64_t tied_weight = 0
    cdef int i, weight
    for i in range(g.n):
        latency_ns = fg_load(&endpoint_slot(s, g.members[i]).latency_ns)
        if latency_ns <= 0 or usable(g, s, c, i, heed_marks) == 0:
            continue
        if best_latency_ns == 0 or latency_ns < best_latency_ns:
            best_latency_ns = latency_ns
    best_latency_ns = max(<int64_t>1, clamped_latency(best_latency_ns))
    for i in range(g.n):
        weight = usable(g, s, c, i, heed_marks)
        if weight == 0:
            continue
        slot = endpoint_slot(s, g.members[i])
        latency_ns = clamped_latency(fg_load(&slot.latency_ns))
        at_ms = fg_load(&slot.latency_at_ms)
        if 0 <= at_ms < c.now_ms:
            latency_ns = decayed(latency_ns, c.now_ms - at_ms)
        if latency_ns < best_latency_ns:
            latency_ns = best_latency_ns
        cost = <double>latency_ns * <double>(load_of(s, g.members[i]) + 1) / weight
        if best == NO_ENDPOINT or cost < least:
            tied_weight = weight
        elif cost > least or not wins_tie(c.draw, i, weight, &tied_weight):
            continue
        best = g.members[i]
        least = cost
    return best


# --- by key


cdef int rendezvous(
    Group *g, Shared *s, const Choice *c, bint heed_marks,
    int64_t all_load, int64_t all_weight,
) noexcept nogil:
    """The member that ranks first for this key, of those below their bound.

    all_weight  0 = no bound; otherwise what `all_load` is shared out by

    Rank is the least -ln(u) / weight, u uniform from (key, identity): a member's
    rank never depends on the others, so one that goes moves only the keys that
    were on it, and one that comes takes only what it then holds, in proportion to
    weight. With u = 1 - v, v <= -ln(u): most members are out by comparing v, and
    the logarithm is taken only of those that might lead, some ln(n) of n.
    Source: Thaler and Ravishankar 1998, IEEE/ACM ToN 6(1) (rendezvous); Schindelhauer
    and Schomaker 2005, SPAA (weights by logarithm).
    """
    cdef int best = NO_ENDPOINT
    cdef double least = 0
    cdef double v, rank
    cdef int i, weight
    for i in range(g.n):
        weight = usable(g, s, c, i, heed_marks)
        if weight == 0:
            continue
        # 53 bits, in the middle of their interval: never 0, never 1.
        v = <double>(mixed(c.key ^ g.identities[i]) >> 11) + 0.5
        v *= 1.1102230246251565e-16  # 2^-53
        if best != NO_ENDPOINT and v >= least * weight:
            continue
        rank = -log1p(-v) / weight
        if best != NO_ENDPOINT and rank >= least:
            continue
        # load + 1 <= ceil(bound * (all_load + 1) * weight / all_weight), in integers.
        if all_weight != 0 and (
            load_of(s, g.members[i]) * 100 * all_weight
            >= g.bound_percent * (all_load + 1) * weight
        ):
            continue
        best = g.members[i]
        least = rank
    return best


cdef int pick_ip_hash(
    Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """By the client's address, unbounded: whoever comes back finds its endpoint.

    Source: see rendezvous().
    """
    return rendezvous(g, s, c, heed_marks, 0, 0)


cdef int pick_hash(
    Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """By any key, with bounded loads: a full endpoint's overflow goes to the next.

    Nobody holds more than bound_percent of its fair share of what is in flight
    (rounded up); a key that meets a full endpoint takes the next in its own order.
    Source: Mirrokni, Thorup and Zadimoghaddam 2018, SODA (consistent hashing with
    bounded loads), here on rendezvous order instead of a ring.
    """
    cdef int64_t all_load = 0
    cdef int64_t all_weight = 0
    cdef int i, weight, chosen
    if g.bound_percent == 0:
        return rendezvous(g, s, c, heed_marks, 0, 0)
    for i in range(g.n):
        weight = usable(g, s, c, i, heed_marks)
        if weight != 0:
            all_weight += weight
            all_load = min(MAX_ALL_LOAD, all_load + load_of(s, g.members[i]))
    chosen = rendezvous(g, s, c, heed_marks, all_load, all_weight)
    if chosen == NO_ENDPOINT and all_weight != 0:
        # Loads grew between the two walks until nobody was below the old bound.
        chosen = rendezvous(g, s, c, heed_marks, 0, 0)
    return chosen


# --- the door


cdef enum:
    MAX_POLICIES = 32

cdef Policy TABLE[MAX_POLICIES]
POLICIES = {}                   # name in a configuration -> row of TABLE


cdef int row(str name, pick_fn pick, bint needs_key) except -1:
    cdef Policy *policy = &TABLE[<int>len(POLICIES)]
    assert len(POLICIES) < MAX_POLICIES
    policy.pick = pick
    policy.needs_key = needs_key
    POLICIES[name] = len(POLICIES)
    return 0


row("round-robin", pick_round_robin, needs_key=False)
row("least-connections", pick_least_connections, needs_key=False)
row("random-two", pick_random_two, needs_key=False)
row("ip-hash", pick_ip_hash, needs_key=True)
row("hash", pick_hash, needs_key=True)
row("least-time", pick_least_time, needs_key=False)


cdef const Policy *policy_named(str name) except NULL:
    """The policy that `balance` of a configuration calls so. Raises ValueError."""
    if name not in POLICIES:
        raise ValueError(f"balance: {name!r} is not one of {', '.join(POLICIES)}")
    return &TABLE[<int>POLICIES[name]]


cdef int pick(Group *g, Shared *s, const Choice *c) noexcept nogil:
    """Choose an endpoint for one exchange by the group's policy.

    g        changed by round robin only; its members must be in range of `s`
    returns  the index of an endpoint slot; NO_ROOM if all that may be used are at
             their limit; NO_ENDPOINT if none may be used

    A mark is ignored when nothing else is left, not when what else is left has no
    room: waiting for a sound endpoint beats asking one that just failed. With the
    whole group at its limit this looks at one member and at no other.
    """
    cdef bint heed_marks = True
    cdef int chosen
    while True:
        if has_room(g):
            chosen = g.policy.pick(g, s, c, heed_marks)
            if chosen != NO_ENDPOINT:
                return chosen
        if would_fit(g, s, c, heed_marks):
            return NO_ROOM
        if not heed_marks:
            return NO_ENDPOINT
        heed_marks = False


cdef bint another(
    const Group *g, Shared *s, const Choice *c, bint heed_marks
) noexcept nogil:
    """Would pick() find an endpoint with room? It takes no turn; stops at the first."""
    cdef int i
    for i in range(g.n):
        if usable(g, s, c, i, heed_marks):
            return True
    return False


cdef void set_full(Group *g, int i, bint is_full) noexcept nogil:
    """The i-th member is at its connection limit in this worker, or no more."""
    g.n_full += <int>is_full - <int>g.full[i]
    g.full[i] = is_full


cdef int group_init(
    Group *g, const Policy *policy, int n, int bound_percent, uint64_t seed
) except -1:
    """Make room for `n` members; the caller writes `members` and `identities`.

    bound_percent  of a fair share, 100..10000, or 0 = unbounded; hash only
    seed           where in its cycle round robin begins: another one in each worker,
                   or all of them would take the same turns together
    Raises ValueError for anything out of range, MemoryError.
    """
    memset(g, 0, sizeof(Group))
    if not 0 <= n <= MAX_ENDPOINTS:
        raise ValueError(f"members: {n} not in 0..{MAX_ENDPOINTS}")
    if bound_percent != 0 and not (
        MIN_BOUND_PERCENT <= bound_percent <= MAX_BOUND_PERCENT
    ):
        raise ValueError(
            f"bound_percent: {bound_percent} is neither 0 nor in "
            f"{MIN_BOUND_PERCENT}..{MAX_BOUND_PERCENT}"
        )
    # One block: the three arrays of 64 bits, the two of int, the one of bytes.
    cdef size_t size = <size_t>n * (3 * sizeof(uint64_t) + 2 * sizeof(int) + 1)
    cdef char *block = <char *>PyMem_RawMalloc(size if size else 1)
    if block is NULL:
        raise MemoryError(f"group of {n} members")
    memset(block, 0, size)
    g.policy = policy
    g.n = n
    g.bound_percent = bound_percent
    g.identities = <uint64_t *>block
    g.deadlines = g.identities + n
    g.phases = g.deadlines + n
    g.members = <int *>(g.phases + n)
    g.weights = g.members + n   # all 0: the first pick staggers
    g.full = <uint8_t *>(g.weights + n)
    g.virtual_time = mixed(seed + GOLDEN) & (CYCLE - 1)
    return 0


cdef void group_free(Group *g) noexcept:
    """Free what group_init allocated. A zeroed or freed group is fine."""
    PyMem_RawFree(g.identities)
    memset(g, 0, sizeof(Group))
