"""The one door to compiled code: what Python may use of the data plane.

Runs in: every process (Region, Plan), worker (Engine). Balancing, the shared
counters behind least connections and the loop of a worker live in the rooms of
`dataplane`; nothing outside them imports a compiled module but this one.
"""

from fastgate.dataplane.engine import Engine
from fastgate.dataplane.native import native_versions
from fastgate.dataplane.plan import Plan
from fastgate.dataplane.slots import Region

__all__ = ["Engine", "Plan", "Region", "native_versions"]
