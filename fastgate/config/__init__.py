"""The configuration: pure values that cannot exist wrong.

Runs in: every process.

`knobs` is the table of scalar settings and imports nothing heavy; `model` is
the whole as frozen models; `load` makes one from file, environment and flags;
`locate` finds a key's line and column.
"""
