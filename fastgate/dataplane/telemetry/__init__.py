"""What is written down: the access log, and what the error log says of traffic.

Runs in: every process (the writer of a log serves the master and the steward too).
"""
