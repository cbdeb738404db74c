"""One socket in the event loop, and the worker that all rooms share.

Runs in: worker. A Conn is a socket and what is still to be sent; whose it is, its
Owner knows: a connection of a client, or one to an endpoint, of whatever protocol.
The Worker is the loop, and what every room borrows; what only some rooms understand
hangs on it by a pointer that they alone look behind.

Sockets are registered once, edge-triggered; after that the plain path makes no
epoll_ctl call (writability is asked for at the first send that is not taken).
`readable` remembers an edge that has not been read out yet, so pausing a side is
just not reading it.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastgate.dataplane.balance.attempt cimport WaitQueue
from fastgate.dataplane.balance.budget cimport RetryBudget
from fastgate.dataplane.balance.endpoint cimport Endpoint
from fastgate.dataplane.balance.policies cimport Group
from fastgate.dataplane.base.chance cimport Random
from fastgate.dataplane.base.memory cimport (
    GENERATION_MASK, Bytes, Slab, SlabItem, slab_find,
)
from fastgate.dataplane.base.wheel cimport Timer, Wheel
from fastgate.dataplane.plan.gateway cimport GatewayPlan
from fastgate.dataplane.plan.listener cimport ListenerPlan
from fastgate.dataplane.plan.route cimport RoutePlan
from fastgate.dataplane.plan.upstream cimport UpstreamPlan
from fastgate.dataplane.route.router cimport Table
from fastgate.dataplane.shared.region cimport Shared
from fastgate.dataplane.shared.slots cimport WorkerRow
from fastgate.dataplane.telemetry.accesslog cimport Log
from fastgate.dataplane.telemetry.clock cimport Clock
from fastgate.dataplane.telemetry.incidents cimport Incidents

cdef enum:
    CORK_BYTES = 98304          # a whole head and a small body
    CORK_COPY = 8192            # a body up to this is copied behind its head
    LEAVE_LOOK_MS = 32          # between looks at what a leaving peer still has to take

cdef enum Kind:                 # of what epoll tells about
    KIND_TIMER = 0
    KIND_LISTENER
    KIND_CLIENT                 # a socket of these two has an Owner
    KIND_ORIGIN
    KIND_COUNT

cdef enum Ended:                # of what the peer sends
    NOT_ENDED = 0
    FIN_SEEN                    # epoll told of it: bytes may stand before it
    FIN_READ                    # recv came to it: nothing more will come

cdef struct Owner:              # whose a Conn is
    # Readable, writable or broken, by EPOLL bits.
    void (*event)(Worker *w, Conn *c, uint32_t events) noexcept nogil
    # The same, ahead of the other events of its batch: an origin that nobody uses must
    # not be given to any of them if it has news. Of KIND_ORIGIN alone.
    void (*early)(Worker *w, Conn *c, uint32_t events) noexcept nogil
    void (*run)(Worker *w, Conn *c) noexcept nogil      # as conn_queue asked
    void (*timer)(Worker *w, Conn *c) noexcept nogil
    void (*drain)(Worker *w, Conn *c) noexcept nogil    # the worker is leaving
    void (*close)(Worker *w, Conn *c) noexcept nogil    # now, whatever is on
    bint watches_pace           # how fast its peer takes what waits, by `timer`

cdef struct Conn:
    SlabItem item
    Timer timer                 # set by the owner; by conn.pyx if it watches_pace
    const Owner *owner
    int fd                      # -1: closed
    uint8_t kind                # a Kind
    uint8_t readable            # an edge came and recv has not said EAGAIN since
    uint8_t peer_ended          # an Ended
    uint8_t broken              # an error or reset: nothing more can be sent
    uint8_t in_run_queue        # of the worker
    uint8_t shut                # we sent our FIN
    uint8_t urgent              # has sent urgent data: reads may stop short of it
    uint8_t watches_out         # registered for writability too
    uint8_t end_when_flushed    # send our FIN once `output` is empty
    uint8_t spoke               # bytes left the cork since this was cleared
    uint8_t ends_by_reset       # its FIN would look like an end
    int32_t os_error            # errno that made it `broken`; 0: none
    # When the peer was last seen to take a byte of those that wait; 0: none wait.
    int64_t blocked_ms
    int64_t window_ms           # begin of the time over which its rate is judged
    int64_t window_bytes        # what the kernel held then, and was given since
    int64_t window_taken        # of those, what the peer was seen to have taken
    Bytes output                # to be sent when the socket takes it

cdef enum Drain:                # how a worker goes; 0: it stays
    DRAIN_SOFT = 1            # idle clients keep their connection until they speak
    DRAIN_HARD                  # they are let go, after a moment for what is on its way

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
    uint8_t draining            # a Drain
    uint8_t closing             # nothing is dispatched any more
    uint8_t waking              # wake_queue is at work
    # the plan, borrowed
    const GatewayPlan *gateway
    const ListenerPlan *listeners
    const UpstreamPlan *upstream_plans
    const RoutePlan *routes
    const Table *router
    int n_upstreams
    # shared memory, borrowed
    Shared *shared
    WorkerRow *row
    int n_endpoints             # slots that there are
    int n_used                  # those that may have a member are the first
    int lanes                   # the bit of this generation
    # this worker's own tables
    Slab *sockets[KIND_COUNT]   # [Kind] where its Conns are; NULL: it has none
    Slab exchanges
    void *h1                    # what HTTP/1.1 has, for its rooms
    Group *groups               # [n_upstreams]
    Endpoint *endpoints         # [n_endpoints]
    uint8_t *is_member          # [n_endpoints]
    int64_t members_version     # of the membership that these are made from
    RetryBudget *budgets        # [n_upstreams]
    WaitQueue *queues           # [n_upstreams]
    Random random
    Clock clock                 # the texts of the second
    Log log
    Incidents *incidents        # for the error log
    uint8_t *ejected            # [n_endpoints] by this worker, and not back yet
    int32_t n_ejected
    # scratch: one of each, whatever the number of connections
    char *scratch               # what recv fills
    size_t scratch_bytes
    char *cork                  # what is about to be sent to `cork_of`
    Conn *cork_of
    size_t cork_bytes

cdef inline uint64_t token(
    uint8_t kind, uint32_t index, uint32_t generation
) noexcept nogil:
    """What epoll gives back: kind, generation (30 bits) and index of a socket."""
    return (<uint64_t>kind << 62) | (<uint64_t>generation << 32) | index

cdef inline Conn *conn_find(Worker *w, uint64_t data) noexcept nogil:
    """The Conn of this token, or NULL when it is closed, or no Conn."""
    cdef Slab *sockets = w.sockets[data >> 62]
    if sockets is NULL:
        return NULL
    return <Conn *>slab_find(
        sockets, <uint32_t>data, <uint32_t>(data >> 32) & GENERATION_MASK
    )

cdef inline uint64_t conn_token(const Conn *c) noexcept nogil:
    return token(c.kind, c.item.index, c.item.generation)

cdef int conn_open(
    Worker *w, Conn *c, int fd, uint8_t kind, const Owner *owner, bint watch_out
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
