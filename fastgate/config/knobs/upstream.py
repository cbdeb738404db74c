"""The upstream side: times, retries, and connections that are kept.

Runs in: every process.
"""

from fastgate.config import bounds
from fastgate.config.knob import DAY_MS, Kind, Knob

GROUP = "upstream side"

ROWS = (
    Knob(
        key="connect_timeout",
        kind=Kind.DURATION,
        default="3s",
        help="time to connect to an endpoint; answered 503",
        low=1,
        high=DAY_MS,
        scopes=("upstream",),
    ),
    Knob(
        key="upstream_timeout",
        kind=Kind.DURATION,
        default="60s",
        help="time from the request sent to the whole response head; answered 504",
        low=1,
        high=DAY_MS,
        scopes=("upstream",),
    ),
    Knob(
        key="between_timeout",
        kind=Kind.DURATION,
        default="60s",
        help="time between two reads of a response body",
        low=1,
        high=DAY_MS,
        scopes=("upstream",),
    ),
    Knob(
        key="tunnel_timeout",
        kind=Kind.DURATION,
        default="1h",
        help="time a tunnel (WebSocket) may be silent",
        low=1,
        high=DAY_MS,
        scopes=("upstream",),
    ),
    Knob(
        key="deadline",
        kind=Kind.DURATION,
        default="0s",
        help="time for a whole exchange, retries included; a tunnel has none; 0: none",
        high=DAY_MS,
        scopes=("upstream", "route"),
    ),
    Knob(
        key="max_response_header",
        kind=Kind.SIZE,
        default="64k",
        help="largest response head; answered 502",
        low=1 << 10,
        high=bounds.ANSWER_HEAD_BYTES,
    ),
    Knob(
        key="max_response_headers",
        kind=Kind.COUNT,
        default=512,
        help="most header fields of a response; answered 502",
        low=1,
        high=bounds.HEAD_FIELDS - bounds.FIELDS_KEPT,
    ),
    Knob(
        key="buffer_request",
        kind=Kind.SIZE,
        default="0",
        help="bytes of a request body read before an endpoint is chosen; 0: the"
        " body streams",
        low=0,
        high=16 << 20,
        scopes=("upstream",),
    ),
    Knob(
        key="retries",
        kind=Kind.COUNT,
        default=1,
        help="other endpoints tried when nothing was sent or the request is idempotent",
        high=bounds.TRIES - 2,
        scopes=("upstream",),
    ),
    Knob(
        key="retry_budget",
        kind=Kind.PERCENT,
        default="20%",
        help="most retries, as a share of requests",
        high=100,
        scopes=("upstream",),
    ),
    Knob(
        key="upstream_pool",
        kind=Kind.COUNT,
        default=1024,
        help="idle connections kept per endpoint and worker, enough for as many"
        " requests at once not to connect anew; 0: none are kept",
        high=65535,
        scopes=("upstream",),
    ),
    Knob(
        key="upstream_idle",
        kind=Kind.DURATION,
        default="55s",
        help="idle time before a kept upstream connection is closed; below the"
        " 60s after which many services close theirs, and cut short by their"
        " Keep-Alive: timeout=N",
        low=1,
        high=DAY_MS,
        scopes=("upstream",),
    ),
    Knob(
        key="upstream_max",
        kind=Kind.COUNT,
        default=0,
        help="connections per endpoint and worker, idle ones included; 0: no limit",
        scopes=("upstream",),
    ),
    Knob(
        key="queue",
        kind=Kind.COUNT,
        default=1024,
        help="exchanges that wait per worker when every endpoint is at"
        " upstream_max; answered 503 beyond",
        high=1 << 24,
        scopes=("upstream",),
    ),
    Knob(
        key="queue_timeout",
        kind=Kind.DURATION,
        default="1s",
        help="longest wait in that queue; answered 503",
        low=1,
        high=DAY_MS,
        scopes=("upstream",),
    ),
    Knob(
        key="eject",
        kind=Kind.EJECT,
        default="5/10s",
        help="failed requests in a row before an endpoint is skipped, and for how"
        " long; off: never",
        scopes=("upstream",),
    ),
)

# How an endpoint is picked, the default first: the policies of policies.pyx.
BALANCES = (
    "round-robin",
    "least-connections",
    "random-two",
    "ip-hash",
    "hash",
    "least-time",
)
