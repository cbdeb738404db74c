"""Faults are values: how a request can end other than well.

Runs in: worker. The data plane returns a Fault, it never raises; one table in
faults.pyx gives each its status, the word that the access log shows, whose doing
it was, and whether it is held against the endpoint. Retrying is decided in one
place, exchange.pyx.
"""

cdef enum Fault:
    FAULT_NONE = 0
    FAULT_PARTIAL           # not a fault: the message is not complete yet
    # The client's: answered with a 4xx or 5xx, never retried.
    FAULT_BAD_REQUEST       # the request line or a header line is malformed
    FAULT_BAD_FRAMING       # Content-Length and Transfer-Encoding disagree
    FAULT_BAD_HOST          # Host is missing, doubled or not a host
    FAULT_BAD_TARGET        # the target is malformed, or leaves the root
    FAULT_AMBIGUOUS_PATH    # its readings take different routes
    FAULT_BAD_HEADER        # a name or value that may not be forwarded
    FAULT_BAD_CONNECTION    # Connection lists too many names
    FAULT_BAD_CHUNK         # chunked framing is malformed or mostly overhead
    FAULT_BAD_TRAILER       # the trailer section is malformed or too large
    FAULT_HEAD_TOO_LARGE
    FAULT_TOO_MANY_FIELDS
    FAULT_TARGET_TOO_LONG
    FAULT_BODY_TOO_LARGE
    FAULT_METHOD_UNKNOWN
    FAULT_METHOD_CONNECT
    FAULT_VERSION
    FAULT_TRANSFER_CODING   # a transfer coding other than chunked
    FAULT_EXPECTATION       # Expect: something other than 100-continue
    FAULT_HEADER_TIMEOUT
    FAULT_BODY_TIMEOUT
    FAULT_BODY_TOO_SLOW
    FAULT_CLIENT_ABORT      # the client went away, or ended its body early
    FAULT_SEND_TIMEOUT      # the client stopped reading
    FAULT_SEND_TOO_SLOW     # it reads less than min_send_rate
    # Ours.
    FAULT_METHOD_REFUSED    # one that the listener names
    FAULT_METHOD_TRACE
    FAULT_NO_ROUTE
    FAULT_LOOP              # Via holds our own name: it was forwarded before
    FAULT_NO_ENDPOINT       # every endpoint is down, ejected or already tried
    FAULT_QUEUE_FULL
    FAULT_QUEUE_TIMEOUT
    FAULT_OVERLOAD          # the worker is at its connection limit
    FAULT_DEADLINE
    FAULT_DRAINED           # shut down before the exchange could finish
    FAULT_LOCAL_CONNECT     # our kernel gives no port, or forbids: nothing was sent
    FAULT_INTERNAL          # out of memory, or our own head has no room
    # The upstream's.
    FAULT_CONNECT           # refused or unreachable: nothing was sent
    FAULT_CONNECT_TIMEOUT   # as above
    FAULT_UPSTREAM_BUSY     # its queue of connections is full: nothing was sent
    FAULT_UPSTREAM_RESET    # closed or reset before its answer was whole
    FAULT_UPSTREAM_HEAD     # a head larger than our limits
    FAULT_UPSTREAM_BAD      # an answer that may not be forwarded
    FAULT_UPSTREAM_TIMEOUT  # no answer in time
    FAULT_UPSTREAM_STALLED  # an answer that stopped half way
    FAULT_UPSTREAM_CUT      # an answer that ended half way
    FAULT_COUNT

cdef enum Side:
    SIDE_CLIENT = 0
    SIDE_GATEWAY
    SIDE_UPSTREAM

cdef struct FaultInfo:
    int status          # HTTP status; 0: no answer can be given any more
    Side side
    bint ejects         # held against the endpoint: in a row, it is skipped
    const char *reason  # the access log's word, NUL-terminated
    const char *text    # the body's one line, NUL-terminated, no newline

cdef const FaultInfo *fault_info(int fault) noexcept nogil
