"""The one door to compiled code: what Python may use of the data plane.

Runs in: every process (Engine: worker).
Balancing, the shared counters behind least connections and the loop of a worker live
in the rooms of `dataplane`; nothing outside them imports a compiled module but this
one.
"""

from fastgate.dataplane.balance.attempt cimport MAX_TRIES
from fastgate.dataplane.h1.connections cimport REQUEST_HEAD_BYTES, RESPONSE_HEAD_BYTES
from fastgate.dataplane.http.message cimport (
    MAX_FIELDS, MAX_HEAD_BYTES, MAX_RESPONSE_HEAD_BYTES,
)
from fastgate.dataplane.http.methods cimport MAX_METHOD_BYTES
from fastgate.dataplane.http.rules cimport MAX_RULES
from fastgate.dataplane.shared.region cimport MAX_ENDPOINTS, MAX_WORKERS
from fastgate.dataplane.shared.places cimport MAX_UNIX_PATH_BYTES
from fastgate.dataplane.shared.slots cimport MAX_WEIGHT
from fastgate.dataplane.telemetry.accesslog cimport MIN_LOG_BYTES

from fastgate.dataplane.base.faults import FAULTS
from fastgate.dataplane.engine.engine import Engine
from fastgate.dataplane.telemetry.logwriter import LineWriter
from fastgate.dataplane.native.llhttp import native_versions
from fastgate.dataplane.plan.plan import Plan
from fastgate.dataplane.shared.places import Members
from fastgate.dataplane.shared.slots import GAUGES, TOTALS, Region

# What compiled code has room for, by the names of config/bounds.py, which a
# configuration is held to: a test compares the two.
LIMITS = {
    "WORKERS": MAX_WORKERS,
    "ENDPOINTS": MAX_ENDPOINTS,
    "WEIGHT": MAX_WEIGHT,
    "TRIES": MAX_TRIES,
    "HEAD_BYTES": MAX_HEAD_BYTES,
    "HEAD_FIELDS": MAX_FIELDS,
    "ANSWER_HEAD_BYTES": MAX_RESPONSE_HEAD_BYTES,
    "HEADER_RULES": MAX_RULES,
    "REQUEST_HEAD_BYTES": REQUEST_HEAD_BYTES,
    "RESPONSE_HEAD_BYTES": RESPONSE_HEAD_BYTES,
    "METHOD_BYTES": MAX_METHOD_BYTES,
    "LEAST_LOG_BUFFER_BYTES": MIN_LOG_BYTES,
    "UNIX_PATH_BYTES": MAX_UNIX_PATH_BYTES,
}

__all__ = [
    "FAULTS", "GAUGES", "LIMITS", "TOTALS",
    "Engine", "LineWriter", "Members", "Plan", "Region", "native_versions",
]
