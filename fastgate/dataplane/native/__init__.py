"""Foreign libraries, bound by name and proved at import.

Runs in: every process (bound when `_core` is imported; called by workers).
"""
