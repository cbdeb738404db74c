"""The router and the readings of a path, opened to pytest. Runs in: tests only."""
