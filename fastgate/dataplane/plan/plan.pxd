"""The plan: one configuration as indexes and C structs, the same in all workers.

Runs in: master (made there), worker (read there). Built by control/plan.py, the
one place that turns names into indexes. Nothing in it changes after it is made.
"""

from fastgate.dataplane.plan.gateway cimport GatewayPlan
from fastgate.dataplane.plan.keeper cimport Keeper
from fastgate.dataplane.plan.listener cimport ListenerPlan
from fastgate.dataplane.plan.log cimport LogPlan
from fastgate.dataplane.plan.route cimport RoutePlan
from fastgate.dataplane.plan.upstream cimport UpstreamPlan
from fastgate.dataplane.route.router cimport Router

cdef class Plan:
    """Owns every table, and through its keeper what the structs borrow."""

    cdef GatewayPlan gateway
    cdef LogPlan log
    cdef int n_listeners
    cdef int n_upstreams
    cdef int n_routes
    cdef ListenerPlan *listeners
    cdef UpstreamPlan *upstreams
    cdef RoutePlan *routes
    cdef Router router
    cdef Keeper keeper
