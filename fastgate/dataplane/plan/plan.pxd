"""The plan: one configuration as indexes and C structs, the same in all workers.

Runs in: master (made there), worker (read there). Built by control/plan.py, the
one place that turns names into indexes. Nothing in it changes after it is made.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastgate.dataplane.balance.policies cimport Policy
from fastgate.dataplane.base.address cimport Cidr
from fastgate.dataplane.base.system cimport sockaddr_storage, socklen_t
from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.http.message cimport HeadLimits
from fastgate.dataplane.http.outgoing cimport RequestShape, ResponseShape
from fastgate.dataplane.http.rules cimport Rules
from fastgate.dataplane.route.router cimport Router

cdef enum:
    MAX_UNIX_PATH_BYTES = 107   # sun_path holds 108, its terminating zero with them

cdef enum KeyKind:              # what `hash` and `ip-hash` hash
    KEY_CLIENT = 0
    KEY_PATH
    KEY_HEADER
    KEY_COOKIE
    KEY_QUERY

cdef struct EndpointPlan:
    int upstream                # index of its upstream
    int index                   # its slot in shared memory
    Text address                # as configured: what logs and status show
    uint64_t identity           # hash of the address: its place for `hash`
    sockaddr_storage socket_address
    socklen_t socket_address_len    # 0: its name did not resolve

cdef struct UpstreamPlan:
    Text name
    const Policy *policy
    int hash_bound_percent
    int hash_key_kind           # a KeyKind
    Text hash_key_name          # the header, cookie or parameter
    int first_endpoint          # its endpoints lie side by side
    int n_endpoints
    int64_t connect_timeout_ms
    int64_t upstream_timeout_ms
    int64_t between_timeout_ms
    int64_t tunnel_timeout_ms
    int64_t queue_timeout_ms
    int64_t upstream_idle_ms
    int64_t eject_for_ms
    int eject_failures          # 0: never
    int retries
    int retry_budget_percent
    int upstream_pool
    uint32_t buffer_request_bytes   # of a body, read before an endpoint is picked
    int upstream_max            # per endpoint and worker; 0: no limit
    int queue
    uint8_t lenient             # bare LF, folds and padded chunk sizes are taken

cdef struct RoutePlan:
    Text name
    int upstream
    int64_t max_body_bytes      # 0: no limit
    int64_t deadline_ms         # 0: none
    int ambiguous_paths         # a readings.AmbiguousPaths
    RequestShape request
    ResponseShape response

cdef struct ListenerPlan:
    Text name
    Text scheme
    uint16_t port
    uint8_t is_shared           # one socket for all workers: wake one of them
    uint64_t refused_methods    # a bit for each by llhttp's number: answered 405
    int n_refused_names
    Text *refused_names         # and those that llhttp does not know
    Text allow                  # what a 405 says of the others

cdef struct GatewayPlan:
    HeadLimits head
    int64_t header_timeout_ms
    int64_t body_timeout_ms
    int64_t send_timeout_ms
    int64_t min_send_rate       # bytes a second; 0: off
    int64_t lingering_time_ms
    int64_t lingering_timeout_ms
    int64_t keepalive_ms
    int64_t keepalive_requests  # 0: no limit
    int64_t min_rate            # bytes a second; 0: off
    uint32_t buffer_response_bytes  # queued to one side before the other is paused
    int max_conns
    int accept_batch
    HeadLimits response_head
    uint8_t trace               # TRACE is passed on
    uint8_t half_close          # a client's FIN behind a request is not its leaving
    uint8_t ambiguous_paths     # where no route takes the path
    int access_log_format       # an accesslog.LogFormat
    size_t access_log_buffer_bytes
    Text server_header          # at NULL: none of ours
    Text via_name               # at NULL: none
    uint8_t trusts_unix         # who came to a Unix socket is a trusted proxy
    int n_trusted_proxies
    Cidr *trusted_proxies

cdef class Plan:
    """Owns every table and text that the structs borrow."""

    cdef GatewayPlan gateway
    cdef int n_listeners
    cdef int n_upstreams
    cdef int n_endpoints
    cdef int n_routes
    cdef ListenerPlan *listeners
    cdef UpstreamPlan *upstreams
    cdef EndpointPlan *endpoints
    cdef RoutePlan *routes
    cdef Router router
    cdef list _texts            # the bytes objects that Text spans borrow
    cdef list _arrays           # addresses of arrays to free

    cdef Text _text(self, object value)
    cdef void *_array(self, Py_ssize_t n, size_t item_bytes) except NULL
    cdef int _fill_rules(self, Rules *rules, object rows) except -1
    cdef int _fill_gateway(self, dict g) except -1
    cdef int _fill_listener(self, ListenerPlan *l, dict row) except -1
    cdef int _fill_endpoint(self, EndpointPlan *e, dict row, int upstream) except -1
    cdef int _fill_upstream(self, int i, dict row) except -1
    cdef int _fill_route(self, int i, dict row, dict gateway) except -1
