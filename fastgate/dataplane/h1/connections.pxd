"""The connections of HTTP/1.1: clients', endpoints', and the pools of these.

Runs in: worker.

    H1Client = Conn + Client + Reader        H1Origin = Conn + Origin + Reader

The socket, the side of an exchange, and the reader of what comes over it. What this
worker has of them hangs on `w.h1`; only the rooms of h1 look inside.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastgate.dataplane.base.memory cimport Slab
from fastgate.dataplane.conn.conn cimport Conn, Worker
from fastgate.dataplane.exchange.sides cimport Client, Exchange, Origin
from fastgate.dataplane.h1.reader cimport Reader
from fastgate.dataplane.http.message cimport Head

cdef enum:
    RESPONSE_HEAD_BYTES = 81920     # as written toward the client
    REQUEST_HEAD_BYTES = 131072     # as written: the largest read, our fields, rules
    MAX_LINGERERS = 512         # clients of a worker in PHASE_LINGER
    READS_PER_TURN = 8          # reads of one socket before the others' turn

cdef enum Phase:                # of an H1Client
    PHASE_IDLE = 0              # between requests
    PHASE_HEAD                  # part of a request head was read
    PHASE_BUSY                  # an exchange is on
    PHASE_LINGER                # our FIN is sent; what still comes is discarded
    PHASE_LEAVING               # the last bytes go out, then an RST

cdef struct H1Client:
    Conn conn
    Client client
    Reader reader
    uint8_t phase               # a Phase
    uint8_t goes_on             # may send more behind the request, or was misread
    uint8_t is_idle             # stands in the list of idle.pxd
    H1Client *idle_next
    H1Client *idle_prev
    int64_t requests            # begun on this connection
    int64_t read_deadline_ms    # idle, head, body or linger; 0: none
    int64_t last_read_ms        # when bytes of the body, or behind our FIN, last came
    int64_t linger_by_ms        # when lingering ends, whatever still comes

cdef enum Life:                 # of an H1Origin
    LIFE_CONNECTING = 0
    LIFE_BUSY
    LIFE_IDLE                   # in its endpoint's pool
    LIFE_LEAVING                # the last bytes go out, then an RST

cdef struct H1Origin:
    Conn conn
    Origin origin
    Reader reader
    H1Origin *pool_next
    H1Origin *pool_prev
    int32_t endpoint
    uint8_t life                # a Life
    uint8_t head_done           # its final response head was read
    uint8_t keep_alive          # as far as the endpoint says
    int64_t keep_ms             # how long it says it keeps it idle; -1: nothing

cdef struct Pool:               # of one endpoint
    H1Origin *newest            # idle connections, most recently used first
    H1Origin *oldest
    int32_t idle
    int32_t open                # idle and busy
    int32_t most_idle
    int32_t most_open           # 0: no limit
    int32_t upstream            # whose member it is
    int32_t member              # its place there

cdef struct H1:
    Slab clients
    Slab origins
    H1Client *idle_first        # clients between requests, idle longest first
    H1Client *idle_last
    uint64_t lingerers[MAX_LINGERERS]   # tokens, a ring: the next is the oldest
    uint32_t next_lingerer
    Pool *pools                 # [n_endpoints]
    Head request                # scratch: what is being read
    Head response

cdef inline H1 *h1(const Worker *w) noexcept nogil:
    return <H1 *>w.h1

cdef inline H1Client *h1_client(Client *c) noexcept nogil:
    """The connection that `c` is a part of: one of ours."""
    return <H1Client *>(<char *>c - <size_t>&(<H1Client *>NULL).client)

cdef inline H1Client *client_of(const Exchange *x) noexcept nogil:
    return h1_client(x.client)

cdef inline H1Origin *origin_of(const Exchange *x) noexcept nogil:
    return <H1Origin *>(<char *>x.origin - <size_t>&(<H1Origin *>NULL).origin)

cdef int h1_make(Worker *w) except -1
cdef void h1_free(Worker *w) noexcept
