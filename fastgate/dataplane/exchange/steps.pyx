"""The table of steps. Runs in: worker.

A fault ends an exchange by its step's `ending`; a client that resets its connection
always does. One that only ends its own side, behind a whole request, may still be
reading: that is its leaving where `half_close` is off, but never in a tunnel.
"""

from fastgate.dataplane.base.faults cimport (
    FAULT_BODY_TIMEOUT, FAULT_CONNECT_TIMEOUT, FAULT_NONE, FAULT_QUEUE_TIMEOUT,
    FAULT_SEND_TIMEOUT, FAULT_UPSTREAM_STALLED, FAULT_UPSTREAM_TIMEOUT, Fault,
)

cdef StepInfo TABLE[STEP_COUNT]


cdef void row(
    Step step, const char *name, Awaited awaited, const char *setting, Fault late,
    Ending ending,
) noexcept:
    TABLE[<int>step].name = name
    TABLE[<int>step].awaited = awaited
    TABLE[<int>step].setting = setting
    TABLE[<int>step].late = late
    TABLE[<int>step].ending = ending
    TABLE[<int>step].passes_fin = False


row(STEP_PICK, "pick", AWAITS_NOBODY, NULL, FAULT_NONE, ENDING_REPLY)
row(
    # What buffer_request asks for of the body.
    STEP_GATHER, "gather", AWAITS_CLIENT, "body_timeout", FAULT_BODY_TIMEOUT,
    ENDING_REPLY,
)
row(
    STEP_QUEUED, "queued", AWAITS_ROOM, "queue_timeout", FAULT_QUEUE_TIMEOUT,
    ENDING_REPLY,
)
row(
    # Before another endpoint is asked.
    STEP_BACKOFF, "backoff", AWAITS_TIME, "retry.backoff", FAULT_NONE, ENDING_REPLY,
)
row(
    # To accept.
    STEP_CONNECT, "connect", AWAITS_ENDPOINT, "connect_timeout",
    FAULT_CONNECT_TIMEOUT, ENDING_AGAIN,
)
row(
    # The response head.
    STEP_FORWARD, "forward", AWAITS_ENDPOINT, "upstream_timeout",
    FAULT_UPSTREAM_TIMEOUT, ENDING_AGAIN,
)
row(
    # The response body.
    STEP_RELAY, "relay", AWAITS_ENDPOINT, "between_timeout", FAULT_UPSTREAM_STALLED,
    ENDING_CUT,
)
row(
    STEP_TUNNEL, "tunnel", AWAITS_EITHER, "tunnel_timeout", FAULT_UPSTREAM_STALLED,
    ENDING_CUT_BOTH,
)
TABLE[<int>STEP_TUNNEL].passes_fin = True
row(
    # To read it all.
    STEP_DELIVER, "deliver", AWAITS_CLIENT, "send_timeout", FAULT_SEND_TIMEOUT,
    ENDING_RESET,
)
row(STEP_DONE, "done", AWAITS_NOBODY, NULL, FAULT_NONE, ENDING_NONE)


cdef const StepInfo *step_info(int step) noexcept nogil:
    """The row of `step`, a Step."""
    return &TABLE[step]
