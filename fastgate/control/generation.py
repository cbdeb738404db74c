"""A generation: the workers of one configuration, and what they serve with.

Runs in: master.

            begin          all READY: commit        a successor commits
    nothing ------> STARTING --------------> SERVING --------------------.
                       |                                                 v
                       '-- a worker died, or time is up: abandon --> LEAVING -> gone

                a worker dies          its socket's queue           at a stop
    STARTING    the whole leaves (1)   served by both generations   drains
    SERVING     the slot is refilled   its successor's in the slot  drains
    LEAVING     nobody replaces it     left to the generation that  drains, if it has
                                       stays, else emptied first    not begun to

(1) The first one has nobody to fall back on: its slots are refilled, and if that does
not help the gateway ends. At most two generations are alive.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from fastgate._core import Plan
from fastgate.config.address import Address, parse_address
from fastgate.config.model.across import covers, loop_message
from fastgate.control.channel import Kind, Logs, Message
from fastgate.control.logs import Log, open_access_log, open_error_log
from fastgate.control.plan import PlanValues, make_plan
from fastgate.control.privileges import (
    Identity,
    find_identity,
    fitting_connections,
    listening_sockets,
    raise_open_files,
    too_few_files,
)
from fastgate.control.resolve import Names
from fastgate.control.slot import LEAVE_WITHIN_S, Child, Slot
from fastgate.control.sockets import BoundListener, bind_listeners, held, release
from fastgate.errors import StartError

if TYPE_CHECKING:
    from fastgate.config.model import Config
    from fastgate.control.membership import Membership


class Stage(Enum):
    """Where a generation stands; one that is gone is forgotten."""

    STARTING = auto()
    SERVING = auto()
    LEAVING = auto()


@dataclass(eq=False)
class Generation:
    """What a generation owns. Its children inherit it by fork.

    lane           its bit among the endpoints of shared memory
    access_log_fd  -1 when there is none
    error_log_fd   of the newest file: the master's own log may be busy with an older
    slots          one for each worker
    """

    number: int
    config: "Config"
    identity: Identity
    listeners: list[BoundListener]
    values: PlanValues
    plan: Plan
    lane: int
    access_log_fd: int
    error_log_fd: int
    slots: list[Slot]
    stage: Stage = field(default=Stage.STARTING)

    def children(self) -> Iterator[tuple[Slot, Child]]:
        for slot in self.slots:
            if slot.child is not None:
                yield slot, slot.child

    def unready(self) -> list[Slot]:
        """Give the slots whose worker does not serve yet."""
        return [s for s in self.slots if s.child is None or s.child.ready_s is None]

    def leave(self, stayer: "Generation") -> None:
        """Have the workers leave, softly: another generation stays for their clients.

        Those that are not ready have no clients, and leave at once.
        """
        self.stage = Stage.LEAVING
        within_ms = self.config.gateway.drain
        now_s = time.monotonic()
        # First ours: a worker's copy is then the last one, and when it has emptied
        # its queue and closes, new clients are refused instead of kept waiting.
        release(self.listeners, stayer.listeners)
        handed_on = held(stayer.listeners)
        for slot, child in self.children():
            if child.ready_s is None:
                child.stop(Message(Kind.STOP), now_s + LEAVE_WITHIN_S)
                continue
            marks = bytes(
                one.sockets[slot.index] in handed_on for one in self.listeners
            )
            message = Message(Kind.LEAVE, within_ms, data=marks)
            child.stop(message, now_s + within_ms / 1000 + LEAVE_WITHIN_S)

    def log_fd(self, log: Logs) -> int:
        """Give its descriptor of one log; -1: it has none."""
        return self.access_log_fd if log is Logs.ACCESS else self.error_log_fd

    def close_logs(self) -> None:
        """Close its copies of the logs, once: when its last worker has gone."""
        for fd in (self.access_log_fd, self.error_log_fd):
            if fd >= 0:
                os.close(fd)
        self.access_log_fd = self.error_log_fd = -1


def begin(
    config: "Config",
    names: Names,
    log: Log,
    *,
    number: int,
    rows: Sequence[int],
    membership: "Membership",
    before: Generation | None = None,
) -> Generation:
    """Make a generation, all but its processes: limits, logs, sockets, plan.

    names       what the hosts of listeners and endpoints stand for
    rows        of shared memory, that are free: at least one for each worker
    membership  gives every endpoint its slot in shared memory
    before      the one that serves, whose sockets and logs are taken over where
                they are the same
    Raises StartError; what was done until then is undone.
    """
    gateway = config.gateway
    with ExitStack() as undo:
        if before is not None:
            undo.callback(raise_open_files, before.config.gateway.nofile, log)
        files = raise_open_files(gateway.nofile, log)
        if why := too_few_files(files, gateway.workers, listening_sockets(config)):
            raise StartError(why)
        max_connections = fitting_connections(gateway, files, log)
        identity = find_identity(gateway.user, gateway.group)
        if os.geteuid() == 0 and identity.uid is None and before is None:
            log.warning("workers run as root: set user")
        access_log_fd = _access_log(config, before)
        if access_log_fd >= 0:
            undo.callback(os.close, access_log_fd)
        error_log_fd = _error_log(config, before)
        undo.callback(os.close, error_log_fd)
        earlier = None if before is None else before.listeners
        listeners = bind_listeners(gateway, config.listeners, names, earlier)
        undo.callback(release, listeners, earlier or ())
        values = make_plan(config, listeners, log, names)
        _refuse_loops(values)
        values.gateway["max_conns"] = max_connections
        lane = membership.begin(values.upstreams)
        undo.callback(membership.end, lane)
        try:
            plan = Plan(
                gateway=values.gateway,
                listeners=values.listeners,
                upstreams=values.upstreams,
                routes=values.routes,
            )
        except (ValueError, IndexError) as error:
            raise StartError(str(error)) from None
        undo.pop_all()
    return Generation(
        number=number,
        config=config,
        identity=identity,
        listeners=listeners,
        values=values,
        plan=plan,
        lane=lane,
        access_log_fd=access_log_fd,
        error_log_fd=error_log_fd,
        slots=[Slot(i, rows[i], number) for i in range(gateway.workers)],
    )


def _access_log(config: "Config", before: Generation | None) -> int:
    target = config.gateway.access_log
    if before is not None and before.config.gateway.access_log == target:
        return os.dup(before.access_log_fd) if target != "off" else -1
    return open_access_log(target)


def _error_log(config: "Config", before: Generation | None) -> int:
    target = config.gateway.error_log
    if before is not None and before.config.gateway.error_log == target:
        return os.dup(before.error_log_fd)
    return open_error_log(target)


def _refuse_loops(values: PlanValues) -> None:
    """Refuse endpoints that are listeners of ours, which a name may have hidden."""
    places = [
        (listener["name"], parse_address(listener["address"], listening=True))
        for listener in values.listeners
    ]
    for upstream in values.upstreams:
        for endpoint in upstream["endpoints"]:
            if endpoint["host"] is None or endpoint["family"] == "unix":
                continue  # a path is what the configuration said, and was checked
            target = Address(endpoint["host"], endpoint["port"])
            for name, place in places:
                if covers(place, target):
                    message = loop_message(endpoint["address"], name)
                    raise StartError(f"upstream {upstream['name']}: {message}")
