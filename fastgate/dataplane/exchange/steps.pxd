"""The steps of an exchange: a row each says what holds while it is in that step.

Runs in: worker.

    (GATHER) -> PICK -> CONNECT -> FORWARD -> RELAY -> (DELIVER) -> DONE
                 ^  \\-> FORWARD (pooled)  |  \\-> TUNNEL
                 |   \\-> QUEUED -> PICK   |
                 |'---- replay / retry ----'
                 '----- (BACKOFF) ---------'
"""

from libc.stdint cimport uint8_t

cdef enum Step:
    STEP_PICK = 0
    STEP_GATHER
    STEP_QUEUED
    STEP_BACKOFF
    STEP_CONNECT
    STEP_FORWARD
    STEP_RELAY
    STEP_TUNNEL
    STEP_DELIVER
    STEP_DONE
    STEP_COUNT

cdef enum Awaited:              # whose act leads to the next step
    AWAITS_NOBODY = 0           # passes through within an event
    AWAITS_CLIENT
    AWAITS_ROOM                 # a connection to come free
    AWAITS_TIME                 # it passes
    AWAITS_ENDPOINT
    AWAITS_EITHER               # client and endpoint, as they like

cdef enum Ending:               # what a fault leads to
    ENDING_NONE = 0
    ENDING_REPLY
    ENDING_AGAIN                # another endpoint, or a reply
    ENDING_CUT                  # as above until a byte of the answer left, then a cut
    ENDING_CUT_BOTH             # what was written is delivered to either side
    ENDING_RESET                # of the client

cdef struct StepInfo:
    const char *name            # NUL-terminated
    uint8_t awaited             # an Awaited
    uint8_t late                # the Fault when its time is over; FAULT_NONE: no time
    uint8_t ending              # an Ending
    uint8_t passes_fin          # a client's FIN is the endpoint's, and ends nothing
    const char *setting         # its time, as configured; NULL: none

cdef const StepInfo *step_info(int step) noexcept nogil
