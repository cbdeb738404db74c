"""The readings of a path, opened to pytest. Runs in: tests only."""
