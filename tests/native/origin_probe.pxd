"""Whose doing it is that a connection cannot be opened. Runs in: tests only."""

from fastgate.dataplane.base cimport faults
from fastgate.dataplane.h1 cimport origin
