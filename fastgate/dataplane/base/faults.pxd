"""Faults are values: how a request can end other than well.

Runs in: every process. The data plane returns a Fault and never raises; a table in
faults.pyx gives each its status, the word that the access log shows, whose doing
it was, when it is given, whether it is held against the endpoint, and by which word
of `retry.on` the request is sent again: again() in balance/retry.pyx is the one who
asks.
"""

cdef enum Fault:
    FAULT_NONE = 0
    FAULT_PARTIAL           # not a fault: the message is not complete yet
    # The client's: answered with a 4xx or 5xx, never retried.
    FAULT_BAD_REQUEST
    FAULT_BAD_FRAMING
    FAULT_BAD_HOST
    FAULT_BAD_TARGET
    FAULT_AMBIGUOUS_PATH
    FAULT_BAD_HEADER
    FAULT_BAD_CONNECTION
    FAULT_BAD_CHUNK
    FAULT_BAD_TRAILER
    FAULT_HEAD_TOO_LARGE
    FAULT_TOO_MANY_FIELDS
    FAULT_TARGET_TOO_LONG
    FAULT_BODY_TOO_LARGE
    FAULT_METHOD_UNKNOWN
    FAULT_METHOD_CONNECT
    FAULT_VERSION
    FAULT_TRANSFER_CODING
    FAULT_EXPECTATION
    FAULT_HEADER_TIMEOUT
    FAULT_BODY_TIMEOUT
    FAULT_BODY_TOO_SLOW
    FAULT_CLIENT_ABORT
    FAULT_SEND_TIMEOUT
    FAULT_SEND_TOO_SLOW
    # Ours.
    FAULT_METHOD_REFUSED
    FAULT_METHOD_TRACE
    FAULT_NO_ROUTE
    FAULT_LOOP
    FAULT_NO_ENDPOINT
    FAULT_QUEUE_FULL
    FAULT_QUEUE_TIMEOUT
    FAULT_OVERLOAD
    FAULT_DEADLINE
    FAULT_DRAINED
    FAULT_LOCAL_CONNECT     # our kernel gives no port, or forbids: nothing was sent
    FAULT_INTERNAL
    # The upstream's.
    FAULT_CONNECT           # refused or unreachable: nothing was sent
    FAULT_CONNECT_TIMEOUT   # as above
    FAULT_UPSTREAM_BUSY     # its queue of connections is full: nothing was sent
    FAULT_UPSTREAM_RESET
    FAULT_UPSTREAM_HEAD
    FAULT_UPSTREAM_BAD
    FAULT_UPSTREAM_TIMEOUT
    FAULT_UPSTREAM_STALLED
    FAULT_UPSTREAM_CUT
    FAULT_UPSTREAM_STATUS   # it answered, with a status that `retry.on` lists
    FAULT_COUNT

cdef enum Side:
    SIDE_CLIENT = 0
    SIDE_GATEWAY
    SIDE_UPSTREAM

cdef enum Again:            # what has to stand in `retry.on`, to be sent again?
    AGAIN_NEVER = 0
    AGAIN_CONNECT           # nothing of it was sent
    AGAIN_RESET             # this and what follows: only if it may arrive twice
    AGAIN_TIMEOUT
    AGAIN_BAD
    AGAIN_STATUS            # the status itself

cdef struct FaultInfo:
    int status          # HTTP status; 0: no answer can be given any more
    Side side
    bint ejects         # held against the endpoint: in a row, it is skipped
    Again again
    const char *reason  # the access log's word, NUL-terminated
    const char *text    # the body's one line, NUL-terminated, no newline
    const char *when    # what it is for, in Markdown: for the documentation

cdef const FaultInfo *fault_info(int fault) noexcept nogil
