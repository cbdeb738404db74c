"""Whose doing it is that a connection cannot be opened. Runs in: tests only."""

from fastgate.dataplane cimport faults, upstream
