"""The message in no protocol's form.

Runs in: worker.
"""
