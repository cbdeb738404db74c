"""The plan: plain Python values to C structs. Runs in: master.

What each struct is made of stands in the file of its feature.
"""

cimport cython

from fastgate.dataplane.plan.gateway cimport fill_gateway
from fastgate.dataplane.plan.listener cimport fill_listener
from fastgate.dataplane.plan.log cimport fill_log
from fastgate.dataplane.plan.route cimport fill_route
from fastgate.dataplane.plan.upstream cimport fill_upstream


@cython.final
cdef class Plan:
    """Names turned into indexes: what one generation of workers serves.

    gateway    scalars by the names of the configuration model
    listeners  name, port (0: Unix socket), scheme, is_shared, refused_methods
    upstreams  name, balance, hash_key, hash_bound, slow_start and the effective
               knobs
    routes     name, host, kind, path, upstream (index), set_host,
               request_rules and response_rules ((op, name, value), ...),
               max_body, deadline, ambiguous_paths, error_pages; answer, status,
               body, content_type, location
    Raises KeyError, ValueError or IndexError for values that the configuration
    model would not have let through.
    """

    def __cinit__(self):
        self.keeper = Keeper()

    def __init__(self, *, gateway, listeners, upstreams, routes):
        cdef Keeper keeper = self.keeper
        cdef int i
        self.n_listeners = len(listeners)
        self.n_upstreams = len(upstreams)
        self.n_routes = len(routes)
        self.listeners = <ListenerPlan *>keeper.array(
            self.n_listeners, sizeof(ListenerPlan)
        )
        self.upstreams = <UpstreamPlan *>keeper.array(
            self.n_upstreams, sizeof(UpstreamPlan)
        )
        self.routes = <RoutePlan *>keeper.array(self.n_routes, sizeof(RoutePlan))

        fill_gateway(&self.gateway, gateway, keeper)
        fill_log(&self.log, gateway)
        for i, values in enumerate(listeners):
            fill_listener(&self.listeners[i], values, &self.gateway, keeper)
        for i, values in enumerate(upstreams):
            fill_upstream(&self.upstreams[i], values, keeper)
        for i, values in enumerate(routes):
            fill_route(
                &self.routes[i], values, gateway, &self.gateway, self.n_upstreams,
                keeper,
            )
        self.router = Router(
            [(r["host"], r["kind"], r["path"], i) for i, r in enumerate(routes)]
        )
