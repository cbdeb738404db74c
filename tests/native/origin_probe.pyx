"""Whose doing it is that a connection cannot be opened. Runs in: tests only."""

from fastgate.dataplane.base cimport faults
from fastgate.dataplane.h1 cimport dial


def opening_fault(int error, bint is_unix):
    """(reason, whether it is held against the endpoint)."""
    cdef const faults.FaultInfo *info = faults.fault_info(
        dial.opening_fault(error, is_unix)
    )
    return info.reason.decode(), bool(info.ejects)
