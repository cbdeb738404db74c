"""The table of faults. Runs in: every process.

`python ci/fault_table.py` writes it into docs/life-of-a-request.md.

Statuses follow RFC 9110 section 15 and RFC 6585; 499 is nginx's word in a log
for a client that went away, and is never sent.
"""

cdef FaultInfo TABLE[FAULT_COUNT]


cdef void row(
    Fault fault, int status, Side side, const char *reason, const char *text,
    const char *when,
) noexcept:
    TABLE[<int>fault].status = status
    TABLE[<int>fault].side = side
    TABLE[<int>fault].ejects = False
    TABLE[<int>fault].again = AGAIN_NEVER
    TABLE[<int>fault].reason = reason
    TABLE[<int>fault].text = text
    TABLE[<int>fault].when = when


row(FAULT_NONE, 0, SIDE_GATEWAY, "-", "", "")
row(FAULT_PARTIAL, 0, SIDE_GATEWAY, "-", "", "")
row(
    FAULT_BAD_REQUEST, 400, SIDE_CLIENT, "bad-request", "malformed request",
    "a malformed request line or header field",
)
row(
    FAULT_BAD_FRAMING, 400, SIDE_CLIENT, "bad-framing", "ambiguous body length",
    "Content-Length and Transfer-Encoding leave a doubt",
)
row(
    FAULT_BAD_HOST, 400, SIDE_CLIENT, "bad-host", "missing or invalid Host",
    "Host missing, doubled, or no host; one with a `,` neither, as two joined "
    "fields look so",
)
row(
    FAULT_BAD_TARGET, 400, SIDE_CLIENT, "bad-target", "invalid target",
    "the target is malformed, or some read it as above the root",
)
row(
    FAULT_AMBIGUOUS_PATH, 400, SIDE_CLIENT, "ambiguous-path",
    "path with more than one reading",
    "its readings take different routes; see `ambiguous_paths`",
)
row(
    FAULT_BAD_HEADER, 400, SIDE_CLIENT, "bad-header", "invalid header field",
    "a name or value that may not be forwarded",
)
row(
    FAULT_BAD_CONNECTION, 400, SIDE_CLIENT, "bad-connection",
    "Connection lists too many names",
    "Connection lists more than 32 names ([which of them go](messages.md))",
)
row(
    FAULT_BAD_CHUNK, 400, SIDE_CLIENT, "bad-chunk", "invalid chunked body",
    "chunked framing malformed, or mostly overhead; blanks behind a size pass",
)
row(
    FAULT_BAD_TRAILER, 400, SIDE_CLIENT, "bad-trailer", "malformed trailers",
    "a trailer field that may not be one",
)
row(
    FAULT_HEAD_TOO_LARGE, 431, SIDE_CLIENT, "header-too-large", "header too large",
    "more than `max_header`",
)
row(
    FAULT_TOO_MANY_FIELDS, 431, SIDE_CLIENT, "too-many-headers",
    "too many header fields",
    "more than `max_headers`",
)
row(
    FAULT_TARGET_TOO_LONG, 414, SIDE_CLIENT, "target-too-long", "target too long",
    "more than `max_target`",
)
row(
    FAULT_BODY_TOO_LARGE, 413, SIDE_CLIENT, "body-too-large", "body too large",
    "more than `max_body`",
)
row(
    FAULT_METHOD_UNKNOWN, 501, SIDE_CLIENT, "method-unknown", "method not implemented",
    "a method that the parser does not know ([Methods](#methods))",
)
row(
    FAULT_METHOD_CONNECT, 405, SIDE_CLIENT, "method-connect", "CONNECT is not allowed",
    "CONNECT",
)
row(
    FAULT_VERSION, 505, SIDE_CLIENT, "version", "HTTP version not supported",
    "an HTTP version other than 1.x",
)
row(
    FAULT_TRANSFER_CODING, 501, SIDE_CLIENT, "transfer-coding",
    "transfer coding not implemented",
    "a transfer coding other than chunked",
)
row(
    FAULT_EXPECTATION, 417, SIDE_CLIENT, "expectation", "expectation not supported",
    "Expect other than 100-continue",
)
row(
    FAULT_HEADER_TIMEOUT, 408, SIDE_CLIENT, "header-timeout",
    "request head took too long",
    "the head took too long",
)
row(
    FAULT_BODY_TIMEOUT, 408, SIDE_CLIENT, "body-timeout",
    "request body stopped arriving",
    "the body stopped",
)
row(
    FAULT_BODY_TOO_SLOW, 408, SIDE_CLIENT, "body-too-slow", "request body is too slow",
    "the body is below `min_rate`",
)
row(
    FAULT_CLIENT_ABORT, 499, SIDE_CLIENT, "client-abort", "",
    "it went away, or ended its head or its body early",
)
row(
    FAULT_SEND_TIMEOUT, 499, SIDE_CLIENT, "send-timeout", "",
    "it stopped reading",
)
row(
    FAULT_SEND_TOO_SLOW, 499, SIDE_CLIENT, "send-too-slow", "",
    "it reads less than `min_send_rate`",
)
row(
    FAULT_METHOD_REFUSED, 405, SIDE_GATEWAY, "method-refused",
    "this method is not allowed (refused_methods)",
    "one of the listener's `refused_methods`",
)
row(
    FAULT_METHOD_TRACE, 405, SIDE_GATEWAY, "method-trace",
    "TRACE is not allowed (trace = off)",
    "TRACE, unless `trace` is on",
)
row(
    FAULT_NO_ROUTE, 404, SIDE_GATEWAY, "no-route", "no route for this request",
    "no route takes host and path",
)
row(
    FAULT_LOOP, 508, SIDE_GATEWAY, "loop",
    "loop: Via says that this request passed here before (via = on)",
    "`via` is on, and Via names this gateway: it was here before",
)
row(
    FAULT_NO_ENDPOINT, 503, SIDE_GATEWAY, "no-endpoint", "no endpoint available",
    "no endpoint is up",
)
row(
    FAULT_QUEUE_FULL, 503, SIDE_GATEWAY, "queue-full", "too many requests are waiting",
    "`queue` exchanges wait already",
)
row(
    FAULT_QUEUE_TIMEOUT, 503, SIDE_GATEWAY, "queue-timeout",
    "waited too long for an endpoint",
    "waited longer than `queue_timeout`",
)
row(
    FAULT_OVERLOAD, 503, SIDE_GATEWAY, "overload", "too many connections",
    "no descriptor or memory for an upstream connection, and no idle one to close "
    "for it",
)
row(
    FAULT_DEADLINE, 504, SIDE_GATEWAY, "deadline", "the deadline passed",
    "`deadline` passed",
)
row(
    FAULT_DRAINED, 503, SIDE_GATEWAY, "drained", "shutting down",
    "cut when the worker had to leave",
)
row(
    FAULT_LOCAL_CONNECT, 503, SIDE_GATEWAY, "local-connect",
    "no connection can be opened from here",
    "no port left for this endpoint, or this machine forbids the connection",
)
row(
    FAULT_INTERNAL, 500, SIDE_GATEWAY, "internal", "internal error",
    "out of memory, or a head of ours has no room",
)
row(
    FAULT_CONNECT, 503, SIDE_UPSTREAM, "upstream-connect",
    "upstream refused the connection",
    "refused or unreachable",
)
row(
    FAULT_CONNECT_TIMEOUT, 503, SIDE_UPSTREAM, "upstream-connect-timeout",
    "upstream could not be reached in time",
    "did not accept in time",
)
row(
    FAULT_UPSTREAM_BUSY, 503, SIDE_UPSTREAM, "upstream-busy",
    "upstream takes no more connections",
    "the backlog of its Unix socket is full",
)
row(
    FAULT_UPSTREAM_RESET, 502, SIDE_UPSTREAM, "upstream-reset",
    "upstream closed the connection",
    "ended before its response head was whole",
)
row(
    FAULT_UPSTREAM_HEAD, 502, SIDE_UPSTREAM, "upstream-header-too-large",
    "upstream sent too large a header",
    "a response head past our limits",
)
row(
    FAULT_UPSTREAM_BAD, 502, SIDE_UPSTREAM, "upstream-bad-response",
    "invalid upstream response",
    "an answer that may not be forwarded",
)
row(
    FAULT_UPSTREAM_TIMEOUT, 504, SIDE_UPSTREAM, "upstream-timeout",
    "upstream took too long",
    "no response head in time",
)
row(
    FAULT_UPSTREAM_STALLED, 504, SIDE_UPSTREAM, "upstream-stalled",
    "upstream stopped answering",
    "its body, or a tunnel, stopped",
)
row(
    FAULT_UPSTREAM_CUT, 502, SIDE_UPSTREAM, "upstream-cut",
    "upstream ended its answer early",
    "ended in the middle of its body",
)
row(
    FAULT_UPSTREAM_STATUS, 502, SIDE_UPSTREAM, "upstream-status",
    "upstream failed",
    "answered with a status that `retry.on` lists, and the endpoint that was to be "
    "asked instead is gone since",
)


cdef void hold_against(Fault fault) noexcept:
    TABLE[<int>fault].ejects = True


# What an endpoint did by itself before it answered. Whoever may ask for a page of
# a certain size, or for a stream that pauses, could else eject endpoints: so not a
# head past our limits, and nothing behind a head. Nor a full queue: those who stand
# in it show by the time they wait whether the endpoint is dead or has much to do.
hold_against(FAULT_CONNECT)
hold_against(FAULT_CONNECT_TIMEOUT)
hold_against(FAULT_UPSTREAM_RESET)
hold_against(FAULT_UPSTREAM_BAD)
hold_against(FAULT_UPSTREAM_TIMEOUT)
# Whoever lists a status says that it is the endpoint's failure, not the request's.
hold_against(FAULT_UPSTREAM_STATUS)


cdef void send_again(Fault fault, Again again) noexcept:
    TABLE[<int>fault].again = again


# Not FAULT_OVERLOAD, which would be the same with any other endpoint.
send_again(FAULT_CONNECT, AGAIN_CONNECT)
send_again(FAULT_CONNECT_TIMEOUT, AGAIN_CONNECT)
send_again(FAULT_UPSTREAM_BUSY, AGAIN_CONNECT)
send_again(FAULT_LOCAL_CONNECT, AGAIN_CONNECT)
send_again(FAULT_UPSTREAM_RESET, AGAIN_RESET)
send_again(FAULT_UPSTREAM_CUT, AGAIN_RESET)
send_again(FAULT_UPSTREAM_TIMEOUT, AGAIN_TIMEOUT)
send_again(FAULT_UPSTREAM_HEAD, AGAIN_BAD)
send_again(FAULT_UPSTREAM_BAD, AGAIN_BAD)
send_again(FAULT_UPSTREAM_STATUS, AGAIN_STATUS)


cdef const FaultInfo *fault_info(int fault) noexcept nogil:
    """The row of `fault`; any value out of range reads as FAULT_INTERNAL."""
    if fault < 0 or fault >= FAULT_COUNT:
        return &TABLE[<int>FAULT_INTERNAL]
    return &TABLE[fault]


SIDES = {SIDE_CLIENT: "client", SIDE_GATEWAY: "gateway", SIDE_UPSTREAM: "upstream"}
AGAIN = {
    AGAIN_NEVER: "never",
    AGAIN_CONNECT: "connect",
    AGAIN_RESET: "reset",
    AGAIN_TIMEOUT: "timeout",
    AGAIN_BAD: "bad",
    AGAIN_STATUS: "status",
}

FAULTS = {
    TABLE[i].reason.decode(): {
        "status": TABLE[i].status,
        "side": SIDES[TABLE[i].side],
        "ejects": bool(TABLE[i].ejects),
        "again": AGAIN[TABLE[i].again],
        "when": TABLE[i].when.decode(),
    }
    for i in range(FAULT_PARTIAL + 1, FAULT_COUNT)
}
