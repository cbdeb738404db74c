"""Numbers, bytes, memory, time: what knows nothing else of ours.

Runs in: every process.
"""
