"""What follows on a try that failed. Runs in: tests only."""
