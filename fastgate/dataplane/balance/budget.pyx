"""The retry budget: how many retries the traffic pays for.

Runs in: worker.

Every request pays `percent` of a retry in, a retry takes
one out. So retries can never be more than that share of the traffic, whatever
fails, and a failing upstream is not buried under its own retries. Two bounds make
it usable at the edges: a quiet worker may still retry BUDGET_MINIMUM times a
second, and what a busy one has saved up is capped.
Source: Google, Site Reliability Engineering (2016), chapter 21; Finagle's
RetryBudget.
"""

cdef enum:
    MILLI = 1000                # thousandths in one retry
    BUDGET_MINIMUM = 3          # retries a second that a quiet worker still has
    BUDGET_BURST = 10           # of them saved up: an endpoint's death costs no request
    LONGEST_REFILL_MS = 60000   # more than a burst's worth, and no overflow
    BUDGET_CAP = 100            # retries that can be saved up: one bad burst's worth


cdef void budget_note_request(RetryBudget *b, int percent) noexcept nogil:
    """A first attempt was made: pay `percent` (0..100) of a retry in."""
    b.tokens_milli += percent * (MILLI // 100)
    if b.tokens_milli > BUDGET_CAP * MILLI:
        b.tokens_milli = BUDGET_CAP * MILLI


cdef bint budget_take(RetryBudget *b, int percent, int64_t now_ms) noexcept nogil:
    """Take one retry out, if there is one.

    percent  of the requests; 0 = never retry, not even the minimum
    now_ms   CLOCK_MONOTONIC
    A zeroed RetryBudget is a fresh one. The minimum refills up to BUDGET_BURST
    only: quiet minutes do not add up. That is twice the failures after which an
    endpoint is skipped by default, so that its death is seen by no client.
    """
    cdef int64_t elapsed_ms = now_ms - b.refilled_ms
    if percent <= 0:
        return False
    if elapsed_ms > 0:
        b.refilled_ms = now_ms
        if b.tokens_milli < BUDGET_BURST * MILLI:
            if elapsed_ms > LONGEST_REFILL_MS:
                elapsed_ms = LONGEST_REFILL_MS
            b.tokens_milli += elapsed_ms * BUDGET_MINIMUM * MILLI // 1000
            if b.tokens_milli > BUDGET_BURST * MILLI:
                b.tokens_milli = BUDGET_BURST * MILLI
    if b.tokens_milli < MILLI:
        return False
    b.tokens_milli -= MILLI
    return True
