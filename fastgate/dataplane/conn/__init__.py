"""A socket and the loop's structs.

Runs in: worker.
"""
