"""The one door to compiled code. Runs in: every process."""
