"""The retry budget: how many retries the traffic pays for. Runs in: worker."""

from libc.stdint cimport int64_t

cdef struct RetryBudget:
    int64_t tokens_milli        # thousandths of a retry
    int64_t paid_milli          # by requests, since the minimum was last looked at
    int64_t refilled_ms

cdef void budget_note_request(RetryBudget *b, int percent) noexcept nogil
cdef bint budget_take(RetryBudget *b, int percent, int64_t now_ms) noexcept nogil
