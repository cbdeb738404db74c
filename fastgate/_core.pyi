"""The one door to compiled code.

Runs in: every process (Engine: worker).
"""

from collections.abc import Sequence
from typing import Any, final

__all__ = [
    "FAULTS",
    "GAUGES",
    "LIMITS",
    "TOTALS",
    "Engine",
    "LineWriter",
    "Members",
    "Plan",
    "Region",
    "native_versions",
]

FAULTS: dict[str, dict[str, Any]]
"""How a request can end other than well, by the word for it in the access log.

`status`, `side` (client, gateway, upstream), whether it `ejects` the endpoint, if its
request may be sent `again` (never, unsent, idempotent), and `when` it is given, in
Markdown. ci/fault_table.py makes the documentation of it.
"""

LIMITS: dict[str, int]
"""What compiled code has room for, by the names of config/bounds.py."""

GAUGES: tuple[str, ...]
"""What `Region.worker` says of now, zero in a row without a process."""

TOTALS: tuple[str, ...]
"""What `Region.worker` has counted since the slot was made, over all its processes."""

def native_versions() -> dict[str, str]:
    """Say what is bound: `llhttp` (size of its structs), `httptools` (version)."""

@final
class Region:
    """The shared memory of one gateway: rows of workers, slots of endpoints."""

    @property
    def fd(self) -> int:
        """The sealed memfd."""

    @property
    def workers(self) -> int: ...
    @property
    def endpoints(self) -> int: ...
    @staticmethod
    def create(workers: int, endpoints: int, found: int = 0) -> Region:
        """Make a new one: rows empty, slots unused.

        endpoints  slots of those that configurations name
        found      and of those that are found or added at run time

        Raises ValueError for counts out of range, OSError from the kernel.
        """

    @staticmethod
    def attach(fd: int) -> Region:
        """Take the region behind a descriptor that another process made.

        The descriptor is duplicated. Raises ValueError for any other content.
        """

    def begin_worker(self, slot: int, pid: int, generation: int) -> None:
        """Give the row to that process: the master, right after the fork.

        What the child wrote before it stands. Raises ValueError while the row is
        another process's: reclaim first.
        """

    def set_worker_state(self, slot: int, state: str) -> None:
        """`booting`, `ready`, `draining` (worker), `dead` or `left` (master)."""

    def heartbeat(self, slot: int) -> None:
        """Worker: now, on CLOCK_MONOTONIC."""

    def heartbeat_age_ms(self, slot: int) -> int: ...
    def reclaim_worker(self, slot: int) -> int:
        """Master, after waitpid: give back what a dead worker held.

        Zeroes its lease cells and gauges, keeps its totals. Returns the leases.
        """

    def worker(self, slot: int) -> dict[str, Any]:
        """`pid`, `generation`, `state`, ages in ms, GAUGES, TOTALS, `statuses`."""

    def endpoint(self, index: int) -> dict[str, Any]:
        """Sum up one endpoint over all workers.

        `state` (up, down, draining), of which the reasons are `admin` and `health`;
        `since_ms` (when it last became up, CLOCK_MONOTONIC; 0: from the beginning),
        `weight`, `in_flight`, `total`, `failures`, `connects`, `latency_us`,
        `skipped_ms` (how long it is still passed over).
        """

    def set_admin(self, index: int, admin: str) -> None:
        """Take the operator's word: `enabled`, `draining` or `disabled`."""

    def set_health(self, index: int, health: str) -> None:
        """Take the checks' word: `unchecked`, `up`, `down` or `waiting`."""

    def set_endpoint(self, index: int, *, weight: int) -> None:
        """Weight 1..256."""

@final
class Members:
    """One writer's part of the endpoints in shared memory: see places.pyx."""

    def __init__(self, region: Region, *, found: bool = False) -> None:
        """Take the steward's part, for what no configuration names, or the master's."""

    @property
    def room(self) -> int:
        """Rows of this part, used or not."""

    def take(
        self,
        upstream: str,
        address: str,
        *,
        family: str,
        host: str | None,
        port: int,
        scope: int = 0,
        weight: int = 1,
        health: str = "unchecked",
        lanes: int = 0xFF,
    ) -> int:
        """Make an endpoint a member of an upstream; returns its slot.

        host   a literal, or a path; None: its name did not resolve
        weight, health  that a newcomer begins with
        lanes  the generations that have it, a bit each
        A member already, at the same address, keeps its slot and what is known of it.
        Raises ValueError for what has no meaning, IndexError when no row is free.
        """

    def give_up(self, index: int, lanes: int = 0xFF) -> None:
        """Let these generations have it no more; without any, it is nobody's."""

    def weigh(self, index: int, weight: int) -> None:
        """Its configuration says this weight: it holds if that said another before."""

    def publish(self) -> None:
        """Let workers see what changed."""

    def slots(self) -> list[tuple[int, int]]:
        """Members of this part: (slot, lanes)."""

@final
class Plan:
    """Names turned into indexes: what one generation of workers serves."""

    def __init__(
        self,
        *,
        gateway: dict[str, Any],
        listeners: Sequence[dict[str, Any]],
        upstreams: Sequence[dict[str, Any]],
        routes: Sequence[dict[str, Any]],
    ) -> None: ...

@final
class LineWriter:
    """The queue and the thread of a log that Python writes; see logwriter.pyx."""

    def __new__(cls, fd: int, queue_bytes: int) -> LineWriter:
        """Own `fd` from now on; its number stays."""

    def put(self, lines: bytes) -> bool:
        """Queue whole lines and never wait; False: they are dropped."""

    def reopen(self, fd: int) -> None:
        """Go on in `fd`, taken over, behind what is queued now."""

    def wait(self, within_ms: int) -> bool:
        """Wait until everything is written or dropped; False: it is not yet."""

    def state(self) -> tuple[int, int, bool]:
        """Lines dropped, errno of the last write, whether nothing waits."""

    def close(self, within_ms: int) -> None:
        """Write what is queued, for so long at most, and close the descriptor."""

@final
class Engine:
    """The data plane of one worker."""

    @property
    def fd(self) -> int:
        """The epoll descriptor to watch: readable when `poll` has work."""

    @property
    def connections(self) -> int: ...
    @property
    def exchanges(self) -> int: ...
    def __init__(
        self,
        region: Region,
        slot: int,
        plan: Plan,
        listeners: Sequence[tuple[int, int]],
        access_log_fd: int = -1,
        lanes: int = 0xFF,
    ) -> None:
        """Serve `listeners`: (socket descriptor, index into the plan's listeners).

        lanes  the bit of this generation among the members of upstreams
        The log's descriptor is the engine's from here on. The sockets stay the
        caller's: `drain` empties their queues and watches them no more.
        """

    def poll(self) -> None:
        """Serve what is ready, a bounded number of rounds; never blocks."""

    def leave(self, handed_on: bytes) -> None:
        """Accept nothing more, and finish what there is.

        Idle connections stay until their next answer, which says `Connection: close`,
        or until `drain`.
        handed_on  one byte for each of `listeners`: not 0 = a successor accepts there,
                   and what is queued is left to it; 0 = it is accepted here first
        Raises ValueError for another number of bytes.
        """

    def drain(self) -> None:
        """Accept what is queued, then nothing new, and finish what there is.

        Idle connections are closed, the others answered with `Connection: close`.
        """

    def is_drained(self) -> bool: ...
    def reopen_log(self, fd: int) -> None:
        """Write what is held to the old descriptor, close it, go on with `fd`."""

    def follow(self) -> None:
        """Take in which endpoints there are, if that has changed."""

    def flush_log(self) -> None: ...
    def log_state(self) -> tuple[int, int, bool]:
        """Access log lines lost so far, errno of the last write, and if none waits."""

    def take_incidents(
        self, leaving: bool = False
    ) -> tuple[list[tuple[Any, ...]], int]:
        """Take what the error log has to tell, and the count of what was lost.

        leaving  also what is held back: there will be no other time.
        Each is (kind, (upstream, address) or None, listener, reason, errno, rule,
        offset, request line, how many like it were held back, route, other route): an
        IncidentKind of incidents.pxd, indexes into the plan or -1, the fault's word,
        0 or None for
        what is not known. The other route may be a word of readings.pxd.
        """

    def close(self) -> None:
        """At once: every connection, every lease, the log's last lines."""
