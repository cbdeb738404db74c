"""The processes: a master that supervises, a steward, and workers that serve.

Runs in: every process. `master.run` is the way in; docs/processes.md draws it.
"""
