"""Everything that the master prepares once, before the first fork, and for its life.

Runs in: master.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastgate._core import Region
from fastgate.config.bounds import WORKERS
from fastgate.control.channel import Logs
from fastgate.control.generation import Generation, begin
from fastgate.control.logs import ErrorLog, Log, open_log, reason
from fastgate.control.membership import Membership
from fastgate.control.pidfile import PidFile
from fastgate.control.resolve import Names, StoppedError, hosts_of, resolve
from fastgate.control.signals import SignalQueue
from fastgate.control.slot import Slot
from fastgate.control.sockets import (
    BoundListener,
    bind_admin,
    close_sockets,
    release,
)
from fastgate.errors import StartError

if TYPE_CHECKING:
    import socket

    from fastgate.config.load import Loaded
    from fastgate.config.model import Config

# Room to grow on a small machine. Loads are sums over all rows, so not many more.
_LEAST_ROWS = 8
# Slots beyond those of two configurations like the first; memory is taken as they are.
_SPARE_SLOTS = 1024
# For endpoints that no configuration names.
_FOUND_SLOTS = 4096


@dataclass
class Estate:
    """What the master holds for its life. Its children inherit it by fork.

    current      the generation that serves; at the start the one that will
    generations  those that are alive, oldest first: `current`, and perhaps one that
                 starts or leaves
    reread       reads the configuration again, as at the start, and looks at the
                 machine; raises FastgateError. None: there is nothing to read
    started_s    CLOCK_MONOTONIC
    cpus         those the master may run on, for `pin`
    """

    log: ErrorLog
    admin: "socket.socket | None"
    region: Region
    membership: Membership
    pid_file: PidFile | None
    current: Generation
    generations: list[Generation]
    reread: "Callable[[], Loaded] | None" = None
    started_s: float = field(default_factory=time.monotonic)
    cpus: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))
    _last_number: int = 1

    @property
    def needs_steward(self) -> bool:
        """Whether there is anything for it to do: questions, or endpoints to check."""
        upstreams = self.current.values.upstreams
        return self.admin is not None or any(u["health"] for u in upstreams)

    def next_number(self) -> int:
        """Give the number of another generation."""
        self._last_number += 1
        return self._last_number

    def free_rows(self) -> list[int]:
        """Give the rows of workers that no living generation has."""
        taken = {slot.row for one in self.generations for slot in one.slots}
        return [row for row in range(self.region.workers) if row not in taken]

    def generation_of(self, slot: Slot) -> Generation:
        """Give a worker's generation; the steward's is the one that serves."""
        for generation in self.generations:
            if slot in generation.slots:
                return generation
        return self.current

    def retire(self, generation: Generation) -> None:
        """Forget a generation whose last worker has gone."""
        generation.close_logs()
        self.membership.end(generation.lane)
        self.generations.remove(generation)

    def close_others(self, mine: Generation) -> None:
        """In a child: close the logs of generations that are not its own."""
        for generation in self.generations:
            if generation is not mine:
                generation.close_logs()

    def close_listeners(self, but: "Sequence[socket.socket]" = ()) -> None:
        """In a child: close the sockets of all generations that are not its own."""
        for generation in self.generations:
            close_sockets(generation.listeners, but)

    def stop_listening(self) -> None:
        """In the master, for good: a successor finds paths and ports free."""
        for generation in self.generations:
            release(generation.listeners)

    def open_logs(self) -> tuple[Logs, tuple[int, ...]]:
        """Open both logs afresh: which could be, and their descriptors.

        A line says why one could not. Waits for the disk: not for the master.
        """
        logs, fds = Logs.NONE, []
        gateway = self.current.config.gateway
        targets = {Logs.ACCESS: gateway.access_log, Logs.ERROR: gateway.error_log}
        for log, target in targets.items():
            if target == "off":
                continue
            try:
                fds.append(open_log(target))
                logs |= log
            except OSError as error:
                self.log.alert(f"cannot reopen {target}: {reason(error)}")
        return logs, tuple(fds)

    def take_logs(self, logs: Logs, fds: list[int]) -> None:
        """Write to these from now on, and hand them to children; takes them over."""
        for log in (Logs.ACCESS, Logs.ERROR):
            if log not in logs:
                continue
            fd = fds.pop(0)
            for generation in self.generations:
                if log in self.shared_logs(generation):
                    os.dup2(fd, generation.log_fd(log), inheritable=False)
            if log is Logs.ERROR:
                self.log.replace(fd)
            else:
                os.close(fd)

    def shared_logs(self, generation: Generation) -> Logs:
        """Say which logs of a generation are the same as those of `current`."""
        theirs, ours = generation.config.gateway, self.current.config.gateway
        logs = Logs.NONE
        if theirs.access_log == ours.access_log != "off":
            logs |= Logs.ACCESS
        if theirs.error_log == ours.error_log:
            logs |= Logs.ERROR
        return logs


def prepare(
    config: "Config",
    at_exit: ExitStack,
    signals: SignalQueue,
    reread: "Callable[[], Loaded] | None" = None,
) -> Estate:
    """Do all that can fail, in order: log, names, memory, sockets, plan, pid file.

    at_exit  what undoes it, last first
    Raises StartError, and StoppedError when told to stop while names are resolved;
    what was done until then is undone by `at_exit`.
    """
    gateway = config.gateway
    log = ErrorLog(gateway.error_log, gateway.log_level)
    at_exit.callback(log.close)
    names = _resolve_all(config, signals, log)
    rows = worker_rows(gateway.workers)
    region = _make_region(
        rows, sum(len(u.endpoints) for u in config.upstreams.values())
    )
    membership = Membership(region)
    first = begin(
        config,
        names,
        log,
        number=1,
        rows=range(rows),
        membership=membership,
    )
    estate = Estate(
        log=log,
        admin=None,
        region=region,
        membership=membership,
        pid_file=None,
        current=first,
        generations=[first],
        reread=reread,
    )
    at_exit.callback(_close_all, estate)
    if gateway.admin_socket is not None:
        estate.admin, admin_file = bind_admin(gateway.admin_socket)
        at_exit.callback(estate.admin.close)
        at_exit.callback(admin_file.unlink)
    if gateway.pid_file is not None:
        estate.pid_file = PidFile(gateway.pid_file)
        at_exit.callback(estate.pid_file.release)
    announce(first.listeners, log)
    if gateway.via:
        log.info(f"Via calls this gateway {first.values.gateway['via_name']}")
    if gateway.access_log == "off" and os.isatty(log.fd):
        log.info("requests are not logged: --access-log stdout shows them")
    return estate


def worker_rows(workers: int) -> int:
    """Give how many rows of workers to make: for two generations, and for growing."""
    return min(WORKERS, max(_LEAST_ROWS, 2 * workers, 2 * len(os.sched_getaffinity(0))))


def announce(listeners: list[BoundListener], log: Log) -> None:
    """Say what is listened on."""
    for listener in listeners:
        log.info(f"listening on {listener.url} (listener {listener.name})")


def _close_all(estate: Estate) -> None:
    estate.stop_listening()
    for generation in estate.generations:
        generation.close_logs()


def _resolve_all(config: "Config", signals: SignalQueue, log: Log) -> Names:
    """Resolve every host of listeners and endpoints, before anything listens."""
    try:
        return resolve(hosts_of(config), signals)
    except StoppedError:
        log.info("stopped before names were resolved")
        raise
    except OSError as error:
        raise StartError(f"cannot resolve names: {reason(error)}") from None


def _make_region(workers: int, endpoints: int) -> Region:
    """Make the shared memory. Raises StartError past its limits.

    endpoints  that the first configuration names; later ones may name more
    """
    try:
        return Region.create(workers, 2 * endpoints + _SPARE_SLOTS, _FOUND_SLOTS)
    except OSError as error:
        raise StartError(f"cannot make shared memory: {reason(error)}") from None
    except ValueError as error:
        raise StartError(str(error)) from None
