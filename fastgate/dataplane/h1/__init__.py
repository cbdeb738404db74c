"""HTTP/1.1: bytes to heads and back, connections of clients and to endpoints.

Runs in: worker.
"""
