"""Connections: how many, and what the kernel is told of them.

Runs in: every process.
"""

from fastgate.config import machine
from fastgate.config.knob import DAY_MS, Kind, Knob

GROUP = "connections"

ROWS = (
    Knob(
        key="nofile",
        kind=Kind.COUNT,
        default="auto",
        help="open files of each process; auto: the hard limit",
        low=machine.LEAST_FILES,
        words=("auto",),
    ),
    Knob(
        key="max_conns",
        kind=Kind.COUNT,
        default="auto",
        help="client connections per worker; auto: what the open files allow at"
        " two per connection",
        low=1,
        words=("auto",),
    ),
    Knob(
        key="reuseport",
        kind=Kind.SWITCH,
        default=True,
        help="one listening socket per worker (SO_REUSEPORT), not one shared",
    ),
    Knob(
        key="backlog",
        kind=Kind.COUNT,
        default=16384,
        help="connections waiting to be accepted, per listening socket",
        low=1,
        high=65535,
    ),
    Knob(
        key="accept_batch",
        kind=Kind.COUNT,
        default=64,
        help="connections accepted per wake-up of a worker",
        low=1,
        high=4096,
    ),
    Knob(
        key="tcp_nodelay",
        kind=Kind.SWITCH,
        default=True,
        help="send small segments at once (TCP_NODELAY), both sides",
    ),
    Knob(
        key="tcp_keepalive",
        kind=Kind.DURATION,
        default="60s",
        help="idle time before TCP probes a client's connection; 0: never",
        low=1_000,
        high=DAY_MS,
        may_be_zero=True,
    ),
    Knob(
        key="tcp_user_timeout",
        kind=Kind.DURATION,
        default="30s",
        help="time that sent bytes may stay unacknowledged before the connection"
        " is given up (TCP_USER_TIMEOUT), or send_timeout if that is longer;"
        " 0: the system's",
        low=100,
        high=DAY_MS,
        may_be_zero=True,
    ),
    Knob(
        key="tcp_notsent_lowat",
        kind=Kind.SIZE,
        default="1m",
        help="most that the kernel queues for a client beyond what is on its way"
        " (TCP_NOTSENT_LOWAT); 0: the system's",
        low=4096,
        high=1 << 30,
        may_be_zero=True,
    ),
)
