"""Assembly, the loop, and the class that Python sees.

Runs in: worker.
"""
