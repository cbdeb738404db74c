"""The access log and its clock, opened to pytest. Runs in: tests only."""
