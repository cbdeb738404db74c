"""What follows on a try that failed. Runs in: tests only."""

from fastgate.dataplane.balance cimport judge
from fastgate.dataplane.balance.attempt cimport Attempt, attempt_init
from fastgate.dataplane.base cimport faults

FAULTS = {
    faults.fault_info(i).reason.decode(): i
    for i in range(faults.FAULT_PARTIAL + 1, faults.FAULT_COUNT)
}
SEQUELS = {judge.NO_MORE: "no more", judge.RETRY: "retry", judge.REPLAY: "replay"}


def again(
    str reason, *, int retries, int most_retries, bint replayed, bint over,
    bint repeatable, bint stale,
):
    """The word for what follows on a try that ended by the fault of that `reason`."""
    cdef Attempt a
    attempt_init(&a)
    a.retries = retries
    a.replayed = replayed
    return SEQUELS[
        judge.again(&a, FAULTS[reason], most_retries, over, repeatable, stale)
    ]
