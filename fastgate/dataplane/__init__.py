"""The data plane: Cython, microseconds, no Python object per request.

Runs in: every process (the workers move bytes; master and steward read tables).
"""
