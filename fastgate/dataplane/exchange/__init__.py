"""One request and its response.

Runs in: worker.
"""
