"""What several processes see: one kind of writer a field, and no lock.

Runs in: every process.
"""
