"""Which route a request takes, by each reading of its path.

Runs in: every process (the routes of a configuration are compared where it is read).
"""
