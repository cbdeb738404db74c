"""What holds for the whole gateway. Runs in: every process (made by the master)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastgate.dataplane.base.address cimport Cidr
from fastgate.dataplane.base.text cimport Text
from fastgate.dataplane.http.message cimport HeadLimits
from fastgate.dataplane.plan.answer cimport ErrorPages, Page
from fastgate.dataplane.plan.keeper cimport Keeper

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
    Text server_header          # at NULL: none of ours
    Text via_name               # at NULL: none
    uint8_t trusts_unix         # who came to a Unix socket is a trusted proxy
    int n_trusted_proxies
    Cidr *trusted_proxies
    int n_pages
    const Page *pages           # those of routes with them
    const ErrorPages *errors    # where no route has them otherwise

cdef dict AMBIGUOUS_PATHS       # words of the setting, which routes have too

cdef int fill_gateway(GatewayPlan *g, dict values, Keeper keeper) except -1
