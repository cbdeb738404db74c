"""The client side: what a client may send, how slowly, and for how long.

Runs in: every process.
"""

from fastgate.config import bounds
from fastgate.config.knob import DAY_MS, Kind, Knob

GROUP = "client side"

ROWS = (
    Knob(
        key="keepalive",
        kind=Kind.DURATION,
        default="75s",
        help="idle time before a client's connection is closed; 0: one request"
        " per connection",
        high=DAY_MS,
    ),
    Knob(
        key="keepalive_requests",
        kind=Kind.COUNT,
        default=0,
        help="requests per client connection; 0: no limit",
    ),
    Knob(
        key="half_close",
        kind=Kind.SWITCH,
        default=True,
        help="answer a client that has ended its side; off: it counts as gone",
    ),
    Knob(
        key="trace",
        kind=Kind.SWITCH,
        default=False,
        help="pass TRACE on, whose answer shows the fields that proxies add; off:"
        " answered 405",
    ),
    Knob(
        key="refused_methods",
        kind=Kind.METHODS,
        default="",
        help="methods answered 405, known ones as well as those that are otherwise"
        " answered 501",
        scopes=("listener",),
    ),
    Knob(
        key="header_timeout",
        kind=Kind.DURATION,
        default="10s",
        help="time for a whole request head; answered 408",
        low=1,
        high=DAY_MS,
    ),
    Knob(
        key="body_timeout",
        kind=Kind.DURATION,
        default="30s",
        help="time between two reads of a request body; answered 408",
        low=1,
        high=DAY_MS,
    ),
    Knob(
        key="min_rate",
        kind=Kind.RATE,
        default="240B/s",
        help="slowest request body, averaged, that is put up with; 0: any",
        low=1,
        may_be_zero=True,
    ),
    Knob(
        key="send_timeout",
        kind=Kind.DURATION,
        default="30s",
        help="time a client may take no byte of its response",
        low=1,
        high=DAY_MS,
    ),
    Knob(
        key="min_send_rate",
        kind=Kind.RATE,
        default="240B/s",
        help="slowest reader that is put up with, averaged over send_timeout,"
        " once its socket has been full; 0: any",
        low=1,
        may_be_zero=True,
    ),
    Knob(
        key="lingering_time",
        kind=Kind.DURATION,
        default="30s",
        help="longest time to discard what a client still sends once it has its"
        " last answer, so that it can read it: a 413 amid an upload; 0: none",
        high=DAY_MS,
    ),
    Knob(
        key="lingering_timeout",
        kind=Kind.DURATION,
        default="5s",
        help="silence that ends that time early",
        low=1,
        high=DAY_MS,
    ),
    Knob(
        key="max_header",
        kind=Kind.SIZE,
        default="32k",
        help="largest request head; answered 431",
        low=1 << 10,
        high=bounds.HEAD_BYTES,
    ),
    Knob(
        key="max_headers",
        kind=Kind.COUNT,
        default=128,
        help="most header fields of a request; answered 431",
        low=1,
        high=bounds.HEAD_FIELDS - bounds.FIELDS_KEPT,
    ),
    Knob(
        key="max_target",
        kind=Kind.SIZE,
        default="16k",
        help="longest request target (path and query); answered 414",
        low=64,
        high=bounds.HEAD_BYTES,
    ),
    Knob(
        key="max_body",
        kind=Kind.SIZE,
        default="10m",
        help="largest request body; answered 413; 0: no limit",
        high=1 << 50,
        scopes=("route",),
    ),
    Knob(
        key="buffer_response",
        kind=Kind.SIZE,
        default="64k",
        help="bytes held per exchange and direction before the reading side is"
        " paused (high watermark)",
        low=16 << 10,
        high=256 << 10,
    ),
)
