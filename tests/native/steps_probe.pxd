"""The table of steps, and the steps of what is on. Runs in: tests only."""
