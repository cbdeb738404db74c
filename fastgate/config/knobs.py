"""The knobs: every scalar setting, once.

Runs in: every process.

A row here is a TOML key of [gateway], the flag of the same name with dashes,
the variable FASTGATE_KEY, a line of the help and of `docs/configuration.md`,
and a field of `model.Gateway`, which takes its default, range and description
from here. The table imports no model, so that `--help` costs no pydantic.

Defaults lean to safety (THREATS: slow clients, smuggling) and to the values
that users of nginx, HAProxy and Envoy would otherwise set by hand.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from fastgate.config import bounds, machine
from fastgate.config.units import (
    BadValueError,
    format_duration,
    format_rate,
    format_size,
    is_below_zero,
    nearest,
    parse_count,
    parse_duration_ms,
    parse_percent,
    parse_rate,
    parse_size_bytes,
    parse_switch,
    show,
)

Value = int | bool | str | tuple[str, ...] | None


# The most a number may be where nothing else bounds it: it must fit the signed
# 32-bit fields of the data plane.
_NO_BOUND = 1 << 30
# A file of such a name was never meant: `access_log = "on"`.
_NO_PATHS = frozenset({"-", "on", "true", "yes", "no", "false", "none", "off"})


class Kind(Enum):
    """What a knob's value is; the value of the member is its metavar in help."""

    COUNT = "N"
    DURATION = "DURATION"
    SIZE = "SIZE"
    RATE = "RATE"
    PERCENT = "PERCENT"
    SWITCH = "on|off"
    CHOICE = "NAME"
    TEXT = "TEXT"
    NETWORKS = "CIDR,..."
    EJECT = "N/DURATION"


GROUPS = (
    "processes",
    "connections",
    "client side",
    "upstream side",
    "logs",
    "headers and trust",
)


class Knob(NamedTuple):
    """One scalar setting.

    default      as it would be written in a file; None = not set
    low, high    bounds of the parsed value, both allowed
    may_be_zero  0 is allowed beside low..high, with the meaning that help gives
    words        words accepted beside a value, such as "auto"; the first one is
                 what an empty TEXT means
    choices      every word a CHOICE may be
    scopes       tables that may override it by the same key: "upstream", "route"
    aliases      other flags of the same meaning
    placeholder  the metavar, where the kind's own says too little
    """

    key: str
    kind: Kind
    default: str | int | bool | None
    group: str
    help: str
    low: int = 0
    high: int = _NO_BOUND
    may_be_zero: bool = False
    words: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    placeholder: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        return "FASTGATE_" + self.key.upper()

    @property
    def metavar(self) -> str:
        """Give the unit for the help: `SIZE`, `DURATION`, `auto|N`, `a|b`."""
        if self.kind is Kind.CHOICE:
            return "|".join(self.choices)
        return "|".join((*self.words, self.placeholder or self.kind.value))

    @property
    def default_text(self) -> str:
        """Give the default for the help and the documentation."""
        if self.default is None:
            return "none"
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        if self.default == "":
            return "none"
        return str(self.default)

    @property
    def range_text(self) -> str:
        """Give the bounds for the documentation, or an empty text."""
        write = _WRITERS.get(self.kind)
        # Bounds that only keep a number in its machine word are no help.
        if write is None or (self.high >= _NO_BOUND and self.low <= 1):
            return ""
        if self.high >= _NO_BOUND:
            text = f">= {write(self.low)}"
        else:
            text = f"{write(self.low)}..{write(self.high)}"
        return f"{text} or 0" if self.may_be_zero else text

    def read(self, raw: object) -> Value:
        """Read a value from a file, a flag or a variable.

        Raises BadValueError, whose message does not name the knob.
        """
        if isinstance(raw, str) and raw.strip().lower() in self.words:
            return raw.strip().lower()
        return _READERS[self.kind](self, raw)

    def write(self, value: Value) -> str | int | bool | list[str]:
        """Give what a file would hold for a value that `read` gave."""
        if value is None:
            return ""
        if isinstance(value, str | bool):
            return value
        if isinstance(value, tuple):
            return list(value)
        if self.kind is Kind.COUNT:
            return value
        return _WRITERS[self.kind](value)


_WRITERS: dict[Kind, Callable[[int], str]] = {
    Kind.COUNT: str,
    Kind.DURATION: format_duration,
    Kind.SIZE: format_size,
    Kind.RATE: format_rate,
    Kind.PERCENT: lambda value: f"{value}%",
}

_PARSERS: dict[Kind, Callable[[object], int]] = {
    Kind.COUNT: parse_count,
    Kind.DURATION: parse_duration_ms,
    Kind.SIZE: parse_size_bytes,
    Kind.RATE: parse_rate,
    Kind.PERCENT: parse_percent,
}


def _read_number(knob: Knob, raw: object) -> int:
    parse = _PARSERS[knob.kind]
    try:
        value = -1 if is_below_zero(raw, parse) else parse(raw)
    except BadValueError as bad:
        if not knob.words or not isinstance(raw, str):
            raise
        words = " or ".join(f"'{word}'" for word in knob.words)
        raise BadValueError(
            f"{bad} or {words}",
            bad.suggestion or nearest(raw, knob.words),
        ) from None
    if knob.may_be_zero and value == 0:
        return value
    if not knob.low <= value <= knob.high:
        write = _WRITERS[knob.kind]
        words = ""
        if knob.high < _NO_BOUND:
            what = f"is outside {write(knob.low)}..{write(knob.high)}"
            words = "".join(f" or '{word}'" for word in knob.words)
        elif value < knob.low:
            what = f"is less than {write(knob.low)}"
        else:
            what = f"is more than {write(knob.high)}"
        or_zero = " or 0" if knob.may_be_zero else ""
        raise BadValueError(f"{show(raw)} {what}{or_zero}{words}")
    return value


def _read_switch(knob: Knob, raw: object) -> bool:
    try:
        return parse_switch(raw)
    except BadValueError:
        words = (*knob.words, "on", "off")
        listed = ", ".join(words[:-1]) + " or " + words[-1]
        raise BadValueError(
            f"{show(raw)} is not {listed}",
            nearest(raw, words) if isinstance(raw, str) else None,
        ) from None


def read_choice(choices: tuple[str, ...], raw: object) -> str:
    """Read one word of several. Raises BadValueError naming them all."""
    if isinstance(raw, str):
        text = raw.strip().lower()
        if text in choices:
            return text
        # Underscores for dashes and abbreviations are the usual slips.
        dashed = text.replace("_", "-")
        if dashed in choices:
            suggestion: str | None = dashed
        else:
            starts = [
                choice for choice in choices if dashed and choice.startswith(dashed)
            ]
            suggestion = starts[0] if len(starts) == 1 else nearest(dashed, choices)
    else:
        suggestion = None
    raise BadValueError(f"{show(raw)} is not one of {', '.join(choices)}", suggestion)


def _read_choice(knob: Knob, raw: object) -> str:
    return read_choice(knob.choices, raw)


def _read_text(knob: Knob, raw: object) -> str | None:
    if not isinstance(raw, str):
        raise BadValueError(f"{show(raw)} is not a text")
    if any(not c.isprintable() for c in raw):
        raise BadValueError(f"{show(raw)} holds a control character")
    text = raw.strip()
    if knob.placeholder == "PATH" and text.lower() in _NO_PATHS:
        words = ", ".join(f"'{word}'" for word in knob.words)
        or_words = f"{words} or " if words else ""
        raise BadValueError(f"{show(raw)} is no file: write {or_words}a path")
    if text:
        return text
    if knob.default is not None:
        return knob.words[0]  # every text that must be something has a word for it
    return None


def _read_networks(knob: Knob, raw: object) -> tuple[str, ...]:
    import ipaddress  # noqa: PLC0415 (help must not pay for it)

    if isinstance(raw, str):
        parts: list[object] = [part for part in raw.split(",") if part.strip()]
    elif isinstance(raw, list | tuple):
        parts = list(raw)
    else:
        raise BadValueError(f"{show(raw)} is not a list of networks")
    networks: dict[str, None] = {}
    for part in parts:
        if not isinstance(part, str):
            raise BadValueError(f"{show(part)} is not a network")
        text = part.strip()
        try:
            networks[str(ipaddress.ip_network(text))] = None
        except ValueError:
            try:
                meant = str(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise BadValueError(
                    f"{show(text)} is not a network: write 10.0.0.0/8 or fd00::/8"
                ) from None
            raise BadValueError(
                f"{show(text)} has bits set outside its mask", meant
            ) from None
    return tuple(networks)


def parse_eject(raw: object) -> tuple[int, int]:
    """Read `5/10s`: after 5 failures in a row, for 10 s; `off` gives (0, 0).

    returns  (failures, ms)
    Raises BadValueError.
    """
    if raw is False or (isinstance(raw, str) and raw.strip().lower() == "off"):
        return 0, 0
    failures, slash, duration = (
        raw.partition("/") if isinstance(raw, str) else ("",) * 3
    )
    if not slash:
        raise BadValueError(
            f"{show(raw)} is not FAILURES/DURATION, as in 5/10s, or 'off'"
        )
    count, ms = parse_count(failures), parse_duration_ms(duration)
    if not 1 <= count <= 1000:
        raise BadValueError(f"{show(raw)}: {count} failures are not in 1..1000")
    if not 1 <= ms <= _DAY_MS:
        raise BadValueError(f"{show(raw)}: the duration is outside 1ms..24h")
    return count, ms


def _read_eject(_knob: Knob, raw: object) -> str:
    failures, ms = parse_eject(raw)
    return f"{failures}/{format_duration(ms)}" if failures else "off"


_READERS: dict[Kind, Callable[[Knob, object], Value]] = {
    Kind.COUNT: _read_number,
    Kind.DURATION: _read_number,
    Kind.SIZE: _read_number,
    Kind.RATE: _read_number,
    Kind.PERCENT: _read_number,
    Kind.SWITCH: _read_switch,
    Kind.CHOICE: _read_choice,
    Kind.TEXT: _read_text,
    Kind.NETWORKS: _read_networks,
    Kind.EJECT: _read_eject,
}

_DAY_MS = 86_400_000
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
            high=_DAY_MS,
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
            high=_DAY_MS,
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
            high=_DAY_MS,
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
            high=_DAY_MS,
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
            key="header_timeout",
            kind=duration,
            default="10s",
            group=client,
            help="time for a whole request head; answered 408",
            low=1,
            high=_DAY_MS,
        ),
        Knob(
            key="body_timeout",
            kind=duration,
            default="30s",
            group=client,
            help="time between two reads of a request body; answered 408",
            low=1,
            high=_DAY_MS,
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
            high=_DAY_MS,
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
            high=_DAY_MS,
        ),
        Knob(
            key="lingering_timeout",
            kind=duration,
            default="5s",
            group=client,
            help="silence that ends that time early",
            low=1,
            high=_DAY_MS,
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
            high=_DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="upstream_timeout",
            kind=duration,
            default="60s",
            group=upstream,
            help="time from the request sent to the whole response head; answered 504",
            low=1,
            high=_DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="between_timeout",
            kind=duration,
            default="60s",
            group=upstream,
            help="time between two reads of a response body",
            low=1,
            high=_DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="tunnel_timeout",
            kind=duration,
            default="1h",
            group=upstream,
            help="time a tunnel (WebSocket) may be silent",
            low=1,
            high=_DAY_MS,
            scopes=_UPSTREAM,
        ),
        Knob(
            key="deadline",
            kind=duration,
            default="0s",
            group=upstream,
            help="time for a whole exchange, retries included; a tunnel has none;"
            " 0: none",
            high=_DAY_MS,
            scopes=_BOTH,
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
            high=_DAY_MS,
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
            high=_DAY_MS,
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
            high=_DAY_MS,
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
            help="peers whose forwarding headers are believed and appended to",
            aliases=("--forwarded-allow-ips",),
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
