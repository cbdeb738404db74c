"""What holds for one route. Runs in: every process (made by the master)."""

from libc.stdint cimport int64_t

from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.http.outgoing cimport RequestShape, ResponseShape
from fastgate.dataplane.plan.answer cimport AnswerPlan, ErrorPages
from fastgate.dataplane.plan.gateway cimport GatewayPlan
from fastgate.dataplane.plan.keeper cimport Keeper

cdef struct RoutePlan:
    Text name
    int upstream                # index of its upstream; -1: the gateway answers itself
    AnswerPlan answer
    const ErrorPages *errors
    int64_t max_body_bytes      # 0: no limit
    int64_t deadline_ms         # 0: none
    int ambiguous_paths         # a readings.AmbiguousPaths
    RequestShape request
    ResponseShape response

# settings  those of the gateway, of which each route has a copy in its shapes
cdef int fill_route(
    RoutePlan *r, dict values, dict settings, const GatewayPlan *gateway,
    int n_upstreams, Keeper keeper,
) except -1
