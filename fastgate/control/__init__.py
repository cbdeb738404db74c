"""The control plane: everything that is not a byte of traffic.

Runs in: master and steward.
"""
