"""The retry budget: how many retries the traffic pays for.

Runs in: worker.

Every request pays `percent` of a retry in, a retry takes
one out. So retries can never be more than that share of the traffic, whatever
fails, and a failing upstream is not buried under its own retries. Two bounds make
it usable at the edges: where that share is less than BUDGET_MINIMUM retries a second,
there are as many as that, and what has been saved up is capped.

It is a share of the requests of a worker and an upstream over time, as Finagle's and
Linkerd's, not of those in flight, as Envoy's: requests in flight grow with the time
that a failing endpoint takes, and with them the retries that it would be given.
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
    b.paid_milli += percent * (MILLI // 100)
    if b.tokens_milli > BUDGET_CAP * MILLI:
        b.tokens_milli = BUDGET_CAP * MILLI


cdef bint budget_take(RetryBudget *b, int percent, int64_t now_ms) noexcept nogil:
    """Take one retry out, if there is one.

    percent  of the requests; 0 = never retry, not even the minimum
    now_ms   CLOCK_MONOTONIC
    A zeroed RetryBudget is a fresh one. The minimum makes up for what the requests
    have paid less, and refills up to BUDGET_BURST only: quiet minutes do not add up.
    That is twice the failures after which an endpoint is skipped by default, so that
    its death is seen by no client.
    """
    cdef int64_t elapsed_ms = now_ms - b.refilled_ms
    cdef int64_t lacking_milli
    if percent <= 0:
        return False
    if elapsed_ms > 0:
        b.refilled_ms = now_ms
        if b.tokens_milli < BUDGET_BURST * MILLI:
            if elapsed_ms > LONGEST_REFILL_MS:
                elapsed_ms = LONGEST_REFILL_MS
            lacking_milli = elapsed_ms * BUDGET_MINIMUM * MILLI // 1000 - b.paid_milli
            if lacking_milli > 0:
                b.tokens_milli += lacking_milli
            if b.tokens_milli > BUDGET_BURST * MILLI:
                b.tokens_milli = BUDGET_BURST * MILLI
        b.paid_milli = 0
    if b.tokens_milli < MILLI:
        return False
    b.tokens_milli -= MILLI
    return True
