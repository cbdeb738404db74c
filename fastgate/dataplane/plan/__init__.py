"""One configuration as C structs.

Runs in: every process (made by the master, read by workers).
"""
