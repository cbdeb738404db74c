"""The knobs: every scalar setting, once.

Runs in: every process.

A row here is a TOML key of [gateway], the flag of the same name with dashes,
the variable FASTGATE_KEY, a line of the help and of `docs/configuration.md`,
and a field of `model.Gateway`, which takes its default, range and description
from here. The table imports no model, so that `--help` costs no pydantic.

Defaults lean to safety (THREATS: slow clients, smuggling) and to the values
that users of nginx, HAProxy and Envoy would otherwise set by hand.
"""

from fastgate.config import bounds, machine
from fastgate.config.knob import DAY_MS, Kind, Knob

GROUPS = (
    "processes",
    "connections",
    "client side",
    "upstream side",
    "logs",
    "headers and trust",
)

_K = 1024
_BOTH = ("upstream", "route")
_UPSTREAM = ("upstream",)
_ROUTE = ("route",)


def _table() -> tuple[Knob, ...]:
    count, duration, size = Kind.COUNT, Kind.DURATION, Kind.SIZE
    switch, choice, text = Kind.SWITCH, Kind.CHOICE, Kind.TEXT
    processes, connections, client, upstream, logs, headers = GROUPS
    return (
        # -- processes
        Knob(
            key="workers",
            kind=count,
            default="auto",
            group=processes,
            help="worker processes; auto: one per CPU that affinity and the cgroup's"
            " quota allow",
            low=1,
            high=bounds.WORKERS,
            words=("auto",),
        ),
        Knob(
            key="pin",
            kind=switch,
            default="auto",
            group=processes,
            help="pin each worker to one CPU; auto: when there are exactly as many"
            " workers as CPUs, and more than one",
            words=("auto",),
        ),
        Knob(
            key="user",
            kind=text,
            default=None,
            group=processes,
            help="user to become once the sockets are bound",
            placeholder="NAME",
        ),
        Knob(
            key="group",
            kind=text,
            default=None,
            group=processes,
            help="group to become once the sockets are bound",
            placeholder="NAME",
        ),
        Knob(
            key="pid_file",
            kind=text,
            default=None,
            group=processes,
            help="file that holds the master's pid while it runs",
            placeholder="PATH",
        ),
        Knob(
            key="admin_socket",
            kind=text,
            default=None,
            group=processes,
            help="Unix socket of the admin interface, read by `fastgate status`",
            placeholder="PATH",
        ),
        Knob(
            key="drain",
            kind=duration,
            default="30s",
            group=processes,
            help="longest time that requests in flight are given on stop and reload",
            high=DAY_MS,
        ),
        # -- connections
        Knob(
            key="nofile",
            kind=count,
            default="auto",
            group=connections,
            help="open files of each process; auto: the hard limit",
            low=machine.LEAST_FILES,
            words=("auto",),
        ),
        Knob(
            key="max_conns",
            kind=count,
            default="auto",
            group=connections,
            help="client connections per worker; auto: what the open files allow at"
            " two per connection",
            low=1,
            words=("auto",),
        ),
        Knob(
            key="reuseport",
            kind=switch,
            default=True,
            group=connections,
            help="one listening socket per worker (SO_REUSEPORT), not one shared",
        ),
        Knob(
            key="backlog",
            kind=count,
            default=16384,
            group=connections,
            help="connections waiting to be accepted, per listening socket",
            low=1,
            high=65535,
        ),
        Knob(
            key="accept_batch",
            kind=count,
            default=64,
            group=connections,
            help="connections accepted per wake-up of a worker",
            low=1,
            high=4096,
        ),
        Knob(
            key="tcp_nodelay",
            kind=switch,
            default=True,
            group=connections,
            help="send small segments at once (TCP_NODELAY), both sides",
        ),
        Knob(
            key="tcp_keepalive",
            kind=duration,
            default="60s",
            group=connections,
            help="idle time before TCP probes a client's connection; 0: never",
            low=1_000,
            high=DAY_MS,
            may_be_zero=True,
        ),
        Knob(
            key="tcp_user_timeout",
            kind=duration,
            default="30s",
            group=connections,
            help="time that sent bytes may stay unacknowledged before the connection"
            " is given up (TCP_USER_TIMEOUT), or send_timeout if that is longer;"
            " 0: the system's",
            low=100,
            high=DAY_MS,
            may_be_zero=True,
        ),
        Knob(
            key="tcp_notsent_lowat",
            kind=size,
            default="128k",
            group=connections,
            help="most that the kernel queues for a client beyond what is on its way"
            " (TCP_NOTSENT_LOWAT); 0: the system's",
            low=4096,
            high=1 << 30,
            may_be_zero=True,
        ),
        # -- client side
        Knob(
            key="keepalive",
            kind=duration,
            default="75s",
            group=client,
            help="idle time before a client's connection is closed; 0: one request"
            " per connection",
            high=DAY_MS,
        ),
        Knob(
            key="keepalive_requests",
            kind=count,
            default=0,
            group=client,
            help="requests per client connection; 0: no limit",
        ),
        Knob(
            key="half_close",
            kind=switch,
            default=True,
            group=client,
            help="answer a client that has ended its side; off: it counts as gone",
        ),
        Knob(
            key="trace",
            kind=switch,
            default=False,
            group=client,
            help="pass TRACE on, whose answer shows the fields that proxies add; off:"
            " answered 405",
        ),
        Knob(
            key="header_timeout",
            kind=duration,
            default="10s",
            group=client,
            help="time for a whole request head; answered 408",
            low=1,
            high=DAY_MS,
        ),
        Knob(
            key="body_timeout",
            kind=duration,
            default="30s",
            group=client,
            help="time between two reads of a request body; answered 408",
            low=1,
            high=DAY_MS,
        ),
        Knob(
            key="min_rate",
            kind=Kind.RATE,
            default="240B/s",
            group=client,
            help="slowest request body, averaged, that is put up with; 0: any",
            low=1,
            may_be_zero=True,
        ),
        Knob(
            key="send_timeout",
            kind=duration,
            default="30s",
            group=client,
            help="time a client may take no byte of its response",
            low=1,
            high=DAY_MS,
        ),
        Knob(
            key="min_send_rate",
            kind=Kind.RATE,
            default="240B/s",
            group=client,
            help="slowest reader that is put up with, averaged over send_timeout,"
            " once its socket has been full; 0: any",
            low=1,
            may_be_zero=True,
        ),
        Knob(
            key="lingering_time",
            kind=duration,
            default="30s",
            group=client,
            help="longest time to discard what a client still sends once it has its"
            " last answer, so that it can read it: a 413 amid an upload; 0: none",
            high=DAY_MS,
        ),
        Knob(
            key="lingering_timeout",
            kind=duration,
            default="5s",
            group=client,
            help="silence that ends that time early",
            low=1,
            high=DAY_MS,
        ),
        Knob(
            key="max_header",
            kind=size,
            default="32k",
            group=client,
            help="largest request head; answered 431",
            low=_K,
            high=bounds.HEAD_BYTES,
        ),
        Knob(
            key="max_headers",
            kind=count,
            default=128,
            group=client,
            help="most header fields of a request; answered 431",
            low=1,
            high=bounds.HEAD_FIELDS - bounds.FIELDS_KEPT,
        ),
        Knob(
            key="max_target",
            kind=size,
            default="16k",
            group=client,
            help="longest request target (path and query); answered 414",
            low=64,
            high=bounds.HEAD_BYTES,
        ),
        Knob(
            key="max_body",
            kind=size,
            default="10m",
            group=client,
            help="largest request body; answered 413; 0: no limit",
            high=1 << 50,
            scopes=_ROUTE,
        ),
        Knob(
            key="buffer_response",
            kind=size,
            default="64k",
            group=client,
            help="bytes held per exchange and direction before the reading side is"
            " paused (high watermark)",
            low=16 * _K,
            high=256 * _K,
        ),
        # -- upstream side
        Knob(
            key="connect_timeout",
            kind=duration,
            default="3s",
            group=upstream,
            help="time to connect to an endpoint; answered 503",
            low=1,
            high=DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="upstream_timeout",
            kind=duration,
            default="60s",
            group=upstream,
            help="time from the request sent to the whole response head; answered 504",
            low=1,
            high=DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="between_timeout",
            kind=duration,
            default="60s",
            group=upstream,
            help="time between two reads of a response body",
            low=1,
            high=DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="tunnel_timeout",
            kind=duration,
            default="1h",
            group=upstream,
            help="time a tunnel (WebSocket) may be silent",
            low=1,
            high=DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="deadline",
            kind=duration,
            default="0s",
            group=upstream,
            help="time for a whole exchange, retries included; a tunnel has none;"
            " 0: none",
            high=DAY_MS,
            scopes=_BOTH,
        ),
        Knob(
            key="max_response_header",
            kind=size,
            default="64k",
            group=upstream,
            help="largest response head; answered 502",
            low=_K,
            high=bounds.ANSWER_HEAD_BYTES,
        ),
        Knob(
            key="max_response_headers",
            kind=count,
            default=512,
            group=upstream,
            help="most header fields of a response; answered 502",
            low=1,
            high=bounds.HEAD_FIELDS - bounds.FIELDS_KEPT,
        ),
        Knob(
            key="buffer_request",
            kind=size,
            default="0",
            group=upstream,
            help="bytes of a request body read before an endpoint is chosen; 0: the"
            " body streams",
            low=0,
            high=16 * _K * _K,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="retries",
            kind=count,
            default=1,
            group=upstream,
            help="other endpoints tried when nothing was sent or the request is"
            " idempotent",
            high=bounds.TRIES - 2,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="retry_budget",
            kind=Kind.PERCENT,
            default="20%",
            group=upstream,
            help="most retries, as a share of requests",
            high=100,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="upstream_pool",
            kind=count,
            default=1024,
            group=upstream,
            help="idle connections kept per endpoint and worker, enough for as many"
            " requests at once not to connect anew; 0: none are kept",
            high=65535,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="upstream_idle",
            kind=duration,
            default="55s",
            group=upstream,
            help="idle time before a kept upstream connection is closed; below the"
            " 60s after which many services close theirs, and cut short by their"
            " Keep-Alive: timeout=N",
            low=1,
            high=DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="upstream_max",
            kind=count,
            default=0,
            group=upstream,
            help="connections per endpoint and worker, idle ones included; 0: no limit",
            scopes=_UPSTREAM,
        ),
        Knob(
            key="queue",
            kind=count,
            default=1024,
            group=upstream,
            help="exchanges that wait per worker when every endpoint is at"
            " upstream_max; answered 503 beyond",
            high=1 << 24,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="queue_timeout",
            kind=duration,
            default="1s",
            group=upstream,
            help="longest wait in that queue; answered 503",
            low=1,
            high=DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="eject",
            kind=Kind.EJECT,
            default="5/10s",
            group=upstream,
            help="failed requests in a row before an endpoint is skipped, and for how"
            " long; off: never",
            scopes=_UPSTREAM,
        ),
        # -- logs
        Knob(
            key="access_log",
            kind=text,
            default="off",
            group=logs,
            help="where a line per request goes",
            placeholder="PATH",
            words=("off", "stdout", "stderr"),
        ),
        Knob(
            key="access_log_format",
            kind=choice,
            default="combined",
            group=logs,
            help="combined (as nginx writes it); combined-plus: and then reason,"
            " milliseconds, endpoint, request id; or one JSON object per line",
            choices=("combined", "combined-plus", "json"),
        ),
        Knob(
            key="access_log_buffer",
            kind=size,
            default="64k",
            group=logs,
            help="access log bytes held per worker before they are written",
            low=bounds.LEAST_LOG_BUFFER_BYTES,
            high=1 << 24,
        ),
        Knob(
            key="access_log_flush",
            kind=duration,
            default="1s",
            group=logs,
            help="longest time an access log line is held",
            low=1,
            high=DAY_MS,
        ),
        Knob(
            key="error_log",
            kind=text,
            default="stderr",
            group=logs,
            help="where the gateway's own messages go",
            placeholder="PATH",
            words=("stderr", "stdout"),
        ),
        Knob(
            key="log_level",
            kind=choice,
            default="info",
            group=logs,
            help="least important message that is written",
            choices=("debug", "info", "warning", "error"),
        ),
        # -- headers and trust
        Knob(
            key="server_header",
            kind=text,
            default="fastgate",
            group=headers,
            help="Server of every response: a text; pass: the upstream's own;"
            " off: none at all",
            words=("pass", "off"),
        ),
        Knob(
            key="via",
            kind=switch,
            default=False,
            group=headers,
            help="add Via to requests and responses",
        ),
        Knob(
            key="forwarded",
            kind=switch,
            default=False,
            group=headers,
            help="send Forwarded (RFC 7239) upstream",
        ),
        Knob(
            key="x_forwarded",
            kind=switch,
            default=True,
            group=headers,
            help="send X-Forwarded-For, -Proto and -Host upstream",
        ),
        Knob(
            key="request_id",
            kind=switch,
            default=True,
            group=headers,
            help="send X-Request-ID upstream, made unless the client sent one",
        ),
        Knob(
            key="trusted_proxies",
            kind=Kind.NETWORKS,
            default="",
            group=headers,
            help="peers whose forwarding headers are believed and appended to; unix:"
            " those who connect to a Unix socket",
            words=("unix",),
            aliases=("--forwarded-allow-ips",),
        ),
        Knob(
            key="underscores",
            kind=choice,
            default="safe",
            group=headers,
            help="request fields with _ in their names; safe: dropped when an origin"
            " could take them for one that the gateway sets or protects",
            choices=("safe", "drop", "pass"),
        ),
        Knob(
            key="ambiguous_paths",
            kind=choice,
            default="routes",
            group=headers,
            help="paths that can be read in several ways (%2F, %5C, ;, //, .. and the"
            " like): routes forwards those whose readings all take the same route,"
            " reject none, keep all",
            choices=("routes", "reject", "keep"),
            scopes=("route",),
        ),
    )


KNOBS: dict[str, Knob] = {knob.key: knob for knob in _table()}

BALANCES = (
    "round-robin",
    "least-connections",
    "random-two",
    "ip-hash",
    "hash",
    "least-time",
)
