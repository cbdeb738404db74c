"""A worker's pools, without the sockets of their connections.

Runs in: tests only. Arguments are checked here, for the rooms themselves trust
their callers.
"""

from libc.stdlib cimport calloc, free

from fastgate.dataplane.balance cimport policies
from fastgate.dataplane.balance.endpoint cimport Endpoint
from fastgate.dataplane.base.wheel cimport wheel_close, wheel_init
from fastgate.dataplane.conn cimport conn
from fastgate.dataplane.h1 cimport connections, pool
from fastgate.dataplane.plan.upstream cimport UpstreamPlan


cdef class Pools:
    """Endpoints in upstreams, and `count` connections that are closed at first.

    sizes  endpoints of each upstream
    most   connections that each upstream allows an endpoint; 0: no limit
    """

    def __cinit__(self, sizes, most, int count):
        cdef conn.Worker *w = <conn.Worker *>calloc(1, sizeof(conn.Worker))
        cdef int i, k, first = 0
        self.worker = w
        w.n_upstreams = len(sizes)
        w.n_endpoints = sum(sizes)
        wheel_init(&w.wheel, 0)
        w.groups = <policies.Group *>calloc(w.n_upstreams, sizeof(policies.Group))
        self.upstreams = <UpstreamPlan *>calloc(
            w.n_upstreams, sizeof(UpstreamPlan)
        )
        self.endpoints = <Endpoint *>calloc(w.n_endpoints, sizeof(Endpoint))
        w.is_member = <unsigned char *>calloc(w.n_endpoints, 1)
        self.origins = <connections.H1Origin *>calloc(
            count, sizeof(connections.H1Origin)
        )
        self.count = count
        w.upstream_plans = self.upstreams
        w.endpoints = self.endpoints
        w.n_used = w.n_endpoints
        for i in range(w.n_upstreams):
            policies.group_init(
                &w.groups[i], policies.policy_named("round-robin"), sizes[i], 0, 0
            )
            self.upstreams[i].upstream_idle_ms = 1000
            for k in range(<int>sizes[i]):
                w.groups[i].members[k] = first + k
                self.endpoints[first + k].upstream = i
                self.endpoints[first + k].member = k
                w.is_member[first + k] = True
            self.upstreams[i].upstream_pool = count
            self.upstreams[i].upstream_max = most[i]
            first += sizes[i]
        connections.h1_make(w)
        pool.pools_follow(w)
        for i in range(count):
            self.origins[i].endpoint = -1
            self.origins[i].keep_ms = -1

    def __dealloc__(self):
        cdef int i
        for i in range(self.worker.n_upstreams):
            policies.group_free(&self.worker.groups[i])
        wheel_close(&self.worker.wheel)
        connections.h1_free(self.worker)
        free(self.worker.groups)
        free(self.upstreams)
        free(self.endpoints)
        free(self.worker.is_member)
        free(self.origins)
        free(self.worker)

    cdef connections.H1Origin *at(self, int number) except NULL:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return &self.origins[number]

    def open(self, int number, int endpoint):
        """A busy connection to `endpoint`."""
        cdef connections.H1Origin *u = self.at(number)
        if not 0 <= endpoint < self.worker.n_endpoints or u.endpoint >= 0:
            raise ValueError(endpoint)
        u.endpoint = endpoint
        u.life = connections.LIFE_BUSY
        pool.pool_count(self.worker, endpoint, 1)

    def put(self, int number):
        """A busy connection becomes idle."""
        pool.pool_put(self.worker, self.at(number))

    def take(self, int endpoint):
        """The number of the idle connection that is given out, or None."""
        if not 0 <= endpoint < self.worker.n_endpoints:
            raise IndexError(endpoint)
        cdef connections.H1Origin *u = pool.pool_take(self.worker, endpoint)
        return None if u is NULL else u - self.origins

    def oldest(self):
        """The number of the idle connection that would go first, or None."""
        cdef connections.H1Origin *u = pool.pool_oldest(self.worker)
        return None if u is NULL else u - self.origins

    def close(self, int number):
        """Of a connection in any life."""
        cdef connections.H1Origin *u = self.at(number)
        if u.life == connections.LIFE_IDLE:
            pool.pool_remove(self.worker, u)
        u.life = connections.LIFE_BUSY
        pool.pool_count(self.worker, u.endpoint, -1)
        u.endpoint = -1

    def turn_clock(self, int by_ms):
        self.worker.now_ms += by_ms

    def full(self):
        """Of each endpoint: is it passed over for want of room?"""
        cdef conn.Worker *w = self.worker
        cdef const connections.Pool *pools = connections.h1(w).pools
        return [
            bool(w.groups[pools[i].upstream].full[pools[i].member])
            for i in range(w.n_endpoints)
        ]

    def n_full(self):
        """Of each upstream: how many endpoints are."""
        return [self.worker.groups[i].n_full for i in range(self.worker.n_upstreams)]
