"""The processes: how many, as whom, and how they stop.

Runs in: every process.
"""

from fastgate.config import bounds
from fastgate.config.knob import DAY_MS, Kind, Knob

GROUP = "processes"

ROWS = (
    Knob(
        key="workers",
        kind=Kind.COUNT,
        default="auto",
        help="worker processes; auto: one per CPU that affinity and the cgroup's"
        " quota allow",
        low=1,
        high=bounds.WORKERS,
        words=("auto",),
    ),
    Knob(
        key="pin",
        kind=Kind.SWITCH,
        default="auto",
        help="pin each worker to one CPU; auto: when there are exactly as many"
        " workers as CPUs, and more than one",
        words=("auto",),
    ),
    Knob(
        key="user",
        kind=Kind.TEXT,
        default=None,
        help="user to become once the sockets are bound",
        placeholder="NAME",
    ),
    Knob(
        key="group",
        kind=Kind.TEXT,
        default=None,
        help="group to become once the sockets are bound",
        placeholder="NAME",
    ),
    Knob(
        key="pid_file",
        kind=Kind.TEXT,
        default=None,
        help="file that holds the master's pid while it runs",
        placeholder="PATH",
    ),
    Knob(
        key="admin_socket",
        kind=Kind.TEXT,
        default=None,
        help="Unix socket of the admin interface, read by `fastgate status`",
        placeholder="PATH",
    ),
    Knob(
        key="drain",
        kind=Kind.DURATION,
        default="30s",
        help="longest time that requests in flight are given on stop and reload",
        high=DAY_MS,
    ),
)
