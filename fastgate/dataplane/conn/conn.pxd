"""One socket in the event loop, and the structs that both its users share.

Runs in: worker. This is the drawing of the data plane: who points at whom.

    Downstream <--> Exchange <--> Upstream
        |              |             |
      a client      one request    one connection to an endpoint
      connection    + response     (busy, or idle in that endpoint's Pool)

Sockets are registered once, edge-triggered; after that the plain path makes no
epoll_ctl call (writability is asked for at the first send that is not taken).
`readable` remembers an edge that has not been read out yet, so pausing a side is
just not reading it.

A side tells the exchange what happened through ExchangeEvents; the exchange
tells a side what to do through SideOps. Both tables speak of heads, body bytes
and ends, never of a protocol: HTTP/1.1 is one implementation of SideOps.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastgate.dataplane.balance.attempt cimport Attempt, WaitQueue
from fastgate.dataplane.balance.budget cimport RetryBudget
from fastgate.dataplane.balance.policies cimport Group
from fastgate.dataplane.base.address cimport ADDRESS_TEXT
from fastgate.dataplane.base.chance cimport Random
from fastgate.dataplane.base.memory cimport Bytes, Slab, SlabItem
from fastgate.dataplane.base.wheel cimport Timer, Wheel
from fastgate.dataplane.conn.steps cimport (
    STEP_FORWARD, STEP_GATHER, STEP_RELAY, STEP_TUNNEL,
)
from fastgate.dataplane.h1.reader cimport Reader
from fastgate.dataplane.http.message cimport Head
from fastgate.dataplane.http.outgoing cimport Framing
from fastgate.dataplane.plan.gateway cimport GatewayPlan
from fastgate.dataplane.plan.listener cimport ListenerPlan
from fastgate.dataplane.plan.route cimport RoutePlan
from fastgate.dataplane.plan.upstream cimport EndpointPlan, UpstreamPlan
from fastgate.dataplane.route.router cimport Table
from fastgate.dataplane.shared.region cimport Shared
from fastgate.dataplane.shared.slots cimport WorkerRow
from fastgate.dataplane.telemetry.accesslog cimport Log
from fastgate.dataplane.telemetry.clock cimport Clock
from fastgate.dataplane.telemetry.incidents cimport Incidents

cdef enum:
    CORK_BYTES = 98304          # a whole head and a small body
    REQUEST_HEAD_BYTES = 131072     # as written: the largest read, our fields, rules
    RESPONSE_HEAD_BYTES = 81920     # the same, toward the client
    CORK_COPY = 8192            # a body up to this is copied behind its head
    MAX_LINGERERS = 512         # clients of a worker in PHASE_LINGER
    LEAVE_LOOK_MS = 32          # between looks at what a leaving peer still has to take
    READS_PER_TURN = 8          # reads of one socket before the others' turn

cdef enum Kind:
    KIND_TIMER = 0
    KIND_LISTENER = 1
    KIND_DOWNSTREAM = 2
    KIND_UPSTREAM = 3

cdef enum Ended:                # of what the peer sends
    NOT_ENDED = 0
    FIN_SEEN                    # epoll told of it: bytes may stand before it
    FIN_READ                    # recv came to it: nothing more will come

cdef struct Conn:
    SlabItem item
    Timer timer
    int fd                      # -1: closed
    uint8_t kind                # a Kind
    uint8_t readable            # an edge came and recv has not said EAGAIN since
    uint8_t peer_ended          # an Ended
    uint8_t broken              # an error or reset: nothing more can be sent
    uint8_t queued              # stands in the worker's run queue
    uint8_t shut                # we sent our FIN
    uint8_t urgent              # has sent urgent data: reads may stop short of it
    uint8_t watches_out         # registered for writability too
    uint8_t end_when_flushed    # send our FIN once `output` is empty
    uint8_t spoke               # bytes left the cork since this was cleared
    uint8_t cut                 # its FIN would look like an end: it ends by RST
    int32_t os_error            # errno that made it `broken`; 0: none
    # When the peer was last seen to take a byte of those that wait; 0: none wait.
    int64_t blocked_ms
    int64_t window_ms           # begin of the time over which its rate is judged
    int64_t window_bytes        # what the kernel held then, and was given since
    int64_t window_taken        # of those, what the peer was seen to have taken
    Bytes output                # to be sent when the socket takes it

cdef enum Phase:                # of a Downstream
    PHASE_IDLE = 0              # between requests
    PHASE_HEAD                  # part of a request head was read
    PHASE_BUSY                  # an exchange is on
    PHASE_LINGER                # our FIN is sent; what still comes is discarded
    PHASE_LEAVING               # the last bytes go out, then an RST

cdef struct Downstream:
    Conn conn
    Reader reader
    Exchange *exchange
    uint8_t phase               # a Phase
    uint8_t close_after         # the connection ends with this exchange
    uint8_t goes_on             # may send more behind the request, or was misread
    uint8_t peer_len
    uint8_t peer_is_v6
    uint8_t peer_trusted
    uint8_t is_idle             # stands in the list of idle.pxd
    Downstream *idle_next
    Downstream *idle_prev
    int32_t listener            # index into the plan
    int64_t requests            # begun on this connection
    int64_t read_deadline_ms    # idle, head, body or linger; 0: none
    int64_t last_read_ms        # when bytes of the body, or behind our FIN, last came
    int64_t linger_by_ms        # when lingering ends, whatever still comes
    char peer[ADDRESS_TEXT]

cdef enum Life:                 # of an Upstream
    LIFE_CONNECTING = 0
    LIFE_BUSY
    LIFE_IDLE                   # in its endpoint's pool
    LIFE_LEAVING                # the last bytes go out, then an RST

cdef struct Upstream:
    Conn conn
    Reader reader
    Exchange *exchange
    Upstream *pool_next
    Upstream *pool_prev
    int32_t endpoint
    uint8_t life                # a Life
    uint8_t reused              # has served an exchange before this one
    uint8_t answered            # a byte of this exchange's answer was read
    uint8_t head_done           # its final response head was read
    uint8_t keep_alive          # as far as the upstream says
    int64_t keep_ms             # how long it says it keeps it idle; -1: nothing

cdef struct Pool:               # of one endpoint
    Upstream *newest            # idle connections, most recently used first
    Upstream *oldest
    int32_t idle
    int32_t open                # idle and busy
    int32_t most_open           # 0: no limit
    int32_t group               # whose member it is
    int32_t member              # its place there

cdef struct Stash:              # what the log line needs, copied while it is there
    Bytes bytes
    uint32_t line_len
    uint32_t referer_len
    uint32_t agent_len
    uint32_t user_len
    uint32_t host_len
    uint32_t id_len
    uint32_t client_len
    uint8_t has_referer
    uint8_t has_agent

cdef struct Exchange:
    SlabItem item
    Downstream *client          # NULL: gone
    Upstream *upstream          # NULL: none yet, or released
    const SideOps *client_ops
    const SideOps *upstream_ops
    Timer timer                 # STEP_QUEUED
    Attempt attempt             # which endpoint, and whether another
    uint8_t step                # a Step
    uint8_t fault               # a Fault; how it ended
    uint8_t is_head             # the method is HEAD
    uint8_t idempotent
    uint8_t minor               # the client's HTTP minor version
    uint8_t wants_tunnel        # the request asks for an upgrade
    uint8_t request_kind        # a BodyKind: how the body goes upstream
    uint8_t request_done        # the client's request is complete
    uint8_t streams             # its head went upstream before the request was whole
    uint8_t body_sent           # a byte of its body went upstream: not replayable
    uint8_t response_started    # the final head went to the client
    uint8_t response_kind       # a BodyKind: how the body goes to the client
    uint8_t response_done
    uint8_t interims
    uint16_t status             # sent to the client; 0: none
    int32_t route               # -1: none
    int32_t other_route         # another reading of the path takes; see readings.pxd
    int64_t deadline_ms         # 0: none
    int64_t started_us
    int64_t forwarded_us        # when the request head went upstream
    int64_t head_us             # from then to the response head; -1: none
    int64_t request_bytes       # of the body
    int64_t response_bytes      # of the body, as sent
    int64_t max_body_bytes
    int64_t rate_since_ms       # minimum-rate window
    int64_t rate_bytes
    Bytes head                  # the request head as it goes upstream
    Bytes body                  # what STEP_GATHER has read of the request's body
    Stash stash

cdef struct SideOps:            # what the exchange asks of a side
    # Serialise and send the head. 0, or a Fault.
    int (*head)(Worker *w, Exchange *x, const Framing *framing) noexcept nogil
    void (*body)(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil
    void (*end)(Worker *w, Exchange *x) noexcept nogil
    # Nothing more comes, and what was sent must not look whole: deliver what was
    # written, then end so that it shows. The side leaves the exchange at once.
    void (*cut)(Worker *w, Exchange *x) noexcept nogil
    # Give up at once: what was written and is not taken yet is dropped.
    void (*reset)(Worker *w, Exchange *x) noexcept nogil
    # Read on, or not: is_full() of the other side decides.
    void (*resume)(Worker *w, Exchange *x) noexcept nogil
    bint (*is_full)(Worker *w, Exchange *x) noexcept nogil

cdef struct ExchangeEvents:     # what a side tells the exchange
    void (*request_head)(Worker *w, Downstream *d) noexcept nogil
    void (*request_refused)(Worker *w, Downstream *d, int fault) noexcept nogil
    void (*request_body)(Worker *w, Exchange *x, char *data, size_t n) noexcept nogil
    void (*request_end)(Worker *w, Exchange *x) noexcept nogil
    void (*client_fault)(Worker *w, Exchange *x, int fault) noexcept nogil
    void (*client_flushed)(Worker *w, Exchange *x) noexcept nogil
    void (*upstream_ready)(Worker *w, Exchange *x) noexcept nogil
    void (*response_head)(Worker *w, Exchange *x) noexcept nogil
    void (*response_body)(Worker *w, Exchange *x, char *data, size_t n) noexcept nogil
    void (*response_end)(Worker *w, Exchange *x) noexcept nogil
    void (*upstream_fault)(Worker *w, Exchange *x, int fault) noexcept nogil
    void (*upstream_flushed)(Worker *w, Exchange *x) noexcept nogil
    # Somebody who waits may be served: a connection that belonged to no exchange
    # any more has closed, or it is time to look at what other processes changed.
    void (*upstream_room)(Worker *w, int upstream) noexcept nogil

cdef struct Worker:
    # the loop
    int epoll_fd
    int slot
    int64_t now_us              # CLOCK_MONOTONIC, read at each event
    int64_t now_ms
    Wheel wheel
    uint64_t *run_queue         # tokens of sockets to look at before sleeping
    uint32_t run_end
    uint32_t run_size
    uint8_t draining
    uint8_t closing             # nothing is dispatched any more
    uint8_t waking              # wake_queue is at work
    # the plan, borrowed
    const GatewayPlan *gateway
    const ListenerPlan *listeners
    const UpstreamPlan *upstream_plans
    const EndpointPlan *endpoint_plans
    const RoutePlan *routes
    const Table *router
    int n_endpoints
    int n_upstreams
    # shared memory, borrowed
    Shared *shared
    WorkerRow *row
    # this worker's own tables
    Slab downstreams
    Slab upstreams
    Slab exchanges
    Downstream *idle_first      # clients between requests, idle longest first
    Downstream *idle_last
    uint64_t lingerers[MAX_LINGERERS]   # tokens, a ring: the next is the oldest
    uint32_t next_lingerer
    Pool *pools                 # [n_endpoints]
    Group *groups               # [n_upstreams]
    RetryBudget *budgets        # [n_upstreams]
    WaitQueue *queues           # [n_upstreams]
    Random random
    Clock clock                 # the texts of the second
    Log log
    Incidents *incidents        # for the error log
    uint8_t *ejected            # [n_endpoints] by this worker, and not back yet
    int32_t n_ejected
    const ExchangeEvents *events
    # scratch: one of each, whatever the number of connections
    char *scratch               # what recv fills
    size_t scratch_bytes
    char *cork                  # what is about to be sent to `cork_of`
    Conn *cork_of
    size_t cork_bytes
    Head request
    Head response

cdef inline uint64_t token(
    uint8_t kind, uint32_t index, uint32_t generation
) noexcept nogil:
    """What epoll gives back: kind, generation (30 bits) and index of a socket."""
    return (<uint64_t>kind << 62) | (<uint64_t>generation << 32) | index

cdef int conn_open(
    Worker *w, Conn *c, int fd, uint8_t kind, bint watch_out
) noexcept nogil
cdef void conn_close(Worker *w, Conn *c, bint reset) noexcept nogil
cdef ssize_t conn_recv(Worker *w, Conn *c, char *into, size_t room) noexcept nogil
cdef ssize_t conn_discard(Worker *w, Conn *c) noexcept nogil
cdef char *cork_room(Worker *w, Conn *c, size_t room) noexcept nogil
cdef void cork_add(Worker *w, size_t n) noexcept nogil
cdef void conn_write(Worker *w, Conn *c, const char *data, size_t n) noexcept nogil
cdef void conn_send(Worker *w, Conn *c, const char *data, size_t n) noexcept nogil
cdef void cork_push(Worker *w) noexcept nogil
cdef void conn_flush(Worker *w, Conn *c) noexcept nogil
cdef void conn_end(Worker *w, Conn *c) noexcept nogil
cdef size_t cork_take_back(Worker *w, Conn *c) noexcept nogil
cdef bint conn_watch_pace(Worker *w, Conn *c) noexcept nogil
cdef int64_t conn_pace_at(Worker *w, const Conn *c) noexcept nogil
cdef int conn_pace(Worker *w, Conn *c) noexcept nogil
cdef void conn_leave(Worker *w, Conn *c) noexcept nogil
cdef bint conn_has_left(Worker *w, Conn *c) noexcept nogil
cdef void conn_queue(Worker *w, Conn *c) noexcept nogil
cdef void clock_read(Worker *w) noexcept nogil

cdef inline bint takes_body(Worker *w, const Exchange *x) noexcept nogil:
    """Can more of the request's body, or of a tunnel, be taken now?"""
    return x.step == STEP_GATHER or (
        x.upstream is not NULL
        and (x.step == STEP_FORWARD or x.step == STEP_RELAY or x.step == STEP_TUNNEL)
        and not x.upstream_ops.is_full(w, <Exchange *>x)
    )
