"""The data plane: Cython, microseconds, no Python object per request."""
