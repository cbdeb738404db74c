"""Which endpoint, and who waits for one.

Runs in: worker.
"""
