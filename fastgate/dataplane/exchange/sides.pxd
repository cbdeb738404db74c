"""The seam: an exchange between its two sides, whatever protocols they speak.

Runs in: worker.

    Client <--> Exchange <--> Origin
       |           |             |
    whose        one request    who answers: a connection to an endpoint,
    request      + response     or a memory of this gateway

A side tells the exchange what happened by calling the functions of exchange.pyx. The
exchange knows a side by its table alone, ClientOps or OriginOps: heads, body bytes and
ends, no socket and no version of HTTP. A side puts a Client or an Origin into the
struct that it owns, and finds that again from its address.

Backpressure: each side says how much is `queued` that its peer has not taken; when it
is full the exchange does not `resume` the other side, which then reads no more.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

from fastgate.dataplane.balance.attempt cimport Attempt
from fastgate.dataplane.base.memory cimport Bytes, SlabItem
from fastgate.dataplane.base.wheel cimport Timer
from fastgate.dataplane.conn.conn cimport Worker
from fastgate.dataplane.conn.peer cimport Peer
from fastgate.dataplane.exchange.steps cimport (
    STEP_FORWARD, STEP_GATHER, STEP_RELAY, STEP_TUNNEL,
)
from fastgate.dataplane.http.message cimport Head
from fastgate.dataplane.http.outgoing cimport Framing, RequestFacts
from fastgate.dataplane.plan.answer cimport Page

cdef enum:
    QUEUED_FOR_EVER = 0x7FFFFFFF    # `queued` of a peer that takes nothing any more

cdef enum OriginKind:           # who answers
    ORIGIN_ENDPOINT = 0
    ORIGIN_HERE                 # this gateway, from memory
    ORIGIN_KINDS

cdef struct Client:             # in the struct of each protocol's client
    const ClientOps *ops
    Exchange *exchange          # NULL: between requests
    int32_t listener            # index into the plan
    uint8_t close_after         # its connection ends with this exchange
    Peer peer

cdef struct Origin:             # in the struct of each kind of origin
    const OriginOps *ops
    Exchange *exchange          # NULL: between exchanges
    uint8_t reused              # has served an exchange before this one
    uint8_t answered            # something of this exchange's answer came

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
    Client *client              # NULL: gone
    Origin *origin              # NULL: none yet, or released
    const OriginOps *origin_ops     # of the kind that answers this request
    Origin here                 # ORIGIN_HERE
    Timer timer                 # STEP_QUEUED, STEP_BACKOFF; of one try: `retry.per_try`
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
    const char *rule            # that the answer broke, static text; NULL: none
    uint32_t rule_at            # offset in its head of the byte that broke it
    Bytes head                  # the request head as it goes upstream
    Bytes body                  # what STEP_GATHER has read of the request's body
    Stash stash

cdef struct ClientOps:
    # Write and send the head. 0, or a Fault.
    int (*head)(
        Worker *w, Exchange *x, const Head *h, const Framing *framing
    ) noexcept nogil
    void (*body)(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil
    void (*end)(Worker *w, Exchange *x) noexcept nogil
    # What the gateway itself says of a fault: a page, or one line of text where that is
    # NULL. 0, or a Fault.
    int (*reply)(
        Worker *w, Exchange *x, int status, const char *text, const Page *page
    ) noexcept nogil
    # Of an answer that has not left yet: as if it had not begun. False: it has left.
    bint (*take_back)(Worker *w, Exchange *x) noexcept nogil
    # From here on its bytes are another protocol's.
    void (*tunnel)(Worker *w, Exchange *x) noexcept nogil
    # Nothing more comes, and what was sent must not look whole: deliver what was
    # written, then end so that it shows. The side leaves the exchange at once.
    void (*cut)(Worker *w, Exchange *x) noexcept nogil
    # Give up at once: what was written and is not taken yet is dropped.
    void (*reset)(Worker *w, Exchange *x) noexcept nogil
    # Read on, or not: whether the other side is full decides.
    void (*resume)(Worker *w, Exchange *x) noexcept nogil
    # Bytes that its peer has not taken yet, or QUEUED_FOR_EVER.
    size_t (*queued)(Worker *w, Exchange *x) noexcept nogil
    # Has something come behind its request?
    bint (*has_more)(Worker *w, Exchange *x) noexcept nogil
    # Its exchange is over, and all of it is delivered.
    void (*done)(Worker *w, Client *c) noexcept nogil

cdef struct OriginOps:
    # Write the request head into x.head, in this side's own words. 0, or a Fault.
    int (*pack)(
        Worker *w, Exchange *x, const Head *h, const RequestFacts *facts
    ) noexcept nogil
    # Become x.origin, for x.attempt.endpoint. 0, or a Fault that says whose it is;
    # x.attempt.os_error is then the errno, 0 if no system call was made.
    # ready  whether the request may go out; if not, origin_ready() says when
    int (*open)(Worker *w, Exchange *x, bint *ready) noexcept nogil
    # Send x.head, and how the rest goes.
    void (*head)(Worker *w, Exchange *x) noexcept nogil
    void (*body)(Worker *w, Exchange *x, const char *data, size_t n) noexcept nogil
    void (*end)(Worker *w, Exchange *x) noexcept nogil
    void (*tunnel)(Worker *w, Exchange *x) noexcept nogil
    void (*cut)(Worker *w, Exchange *x) noexcept nogil
    void (*reset)(Worker *w, Exchange *x) noexcept nogil
    void (*resume)(Worker *w, Exchange *x) noexcept nogil
    size_t (*queued)(Worker *w, Exchange *x) noexcept nogil
    # The answer is whole: leave the exchange, and be kept for another or end.
    void (*release)(Worker *w, Exchange *x) noexcept nogil

cdef inline bint is_full(Worker *w, size_t queued) noexcept nogil:
    """No more should be read for a side that has so much `queued`."""
    return w.gateway.buffer_response_bytes <= <int64_t>queued < QUEUED_FOR_EVER

cdef inline bint takes_body(Worker *w, Exchange *x) noexcept nogil:
    """Can more of the request's body, or of a tunnel, be taken now?"""
    return x.step == STEP_GATHER or (
        x.origin is not NULL
        and (x.step == STEP_FORWARD or x.step == STEP_RELAY or x.step == STEP_TUNNEL)
        and not is_full(w, x.origin.ops.queued(w, x))
    )
