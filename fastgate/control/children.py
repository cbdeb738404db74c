"""Children: how one is forked, and what the master knows of it.

Runs in: master (Child, Slot, fork_child, fork_opener); the bodies run in worker,
steward, and a child that lives as long as opening the logs takes.

Everything heavy is imported before the fork, so that a child is ready within
milliseconds; the master has no loop, and no thread but the one that writes its log
(dataplane/telemetry/logwriter.pyx), which a child leaves behind.
"""

import faulthandler
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from fastgate._core import Engine
from fastgate.control.backoff import Backoff
from fastgate.control.channel import BadMessageError, Channel, Kind, Message
from fastgate.control.libc import fork, set_process_name
from fastgate.control.privileges import drop
from fastgate.control.signals import SignalQueue, held_signals
from fastgate.control.worker import Worker

if TYPE_CHECKING:
    from fastgate.control.boot import Estate

    # What a child does once it is itself; returns its exit code.
    Body = Callable[[Estate, Channel], int]

# A child that fails before it is ready exits with this, which no signal, shell or
# interpreter uses; the master then stops instead of forking it for ever.
EXIT_BOOT_FAILED = 97
EXIT_CRASHED = 1

STEWARD_SLOT = -1


@dataclass
class Child:
    """A living process and what the master has promised itself about it.

    All times are CLOCK_MONOTONIC seconds, None = not (yet).

    trusted_s   silence before this moment is not held against it
    ready_s     when it said that it serves
    aborted_s   when it was sent SIGABRT for being stuck
    kill_at_s   when it will be sent SIGKILL
    cut         exchanges that it said it cut when it left
    is_condemned  its end is the master's doing
    """

    pid: int
    channel: Channel
    trusted_s: float = field(default_factory=time.monotonic)
    ready_s: float | None = None
    aborted_s: float | None = None
    kill_at_s: float | None = None
    cut: int | None = None
    is_condemned: bool = False

    def hear(self, message: Message) -> None:
        """Keep what it said about itself."""
        if message.kind is Kind.LEFT:
            self.cut = message.value
        else:
            self.ready_s = time.monotonic()

    def signal(self, number: int) -> None:
        """Send a signal. Its pid cannot be another's before it is reaped."""
        os.kill(self.pid, number)

    def stop(self, message: Message, kill_at_s: float) -> None:
        """Tell it to leave, and by when it will be gone."""
        self.channel.send(message)
        self.kill_at_s = kill_at_s
        self.is_condemned = True


@dataclass
class Slot:
    """A place for one child: a worker's row, or the steward's (STEWARD_SLOT).

    due_s  when to fill it next, CLOCK_MONOTONIC
    """

    index: int
    child: Child | None = None
    due_s: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def is_steward(self) -> bool:
        return self.index == STEWARD_SLOT

    @property
    def name(self) -> str:
        return "steward" if self.is_steward else f"worker {self.index}"


def fork_child(
    slot: Slot, estate: "Estate", signals: SignalQueue, leave_master: Callable[[], None]
) -> Child:
    """Fork the child of a slot.

    leave_master  closes, in the child, what is the master's alone
    Raises OSError when the system has no room for a process.
    """
    body = _be_steward if slot.is_steward else partial(_be_worker, slot)
    return Child(*_fork(slot.name, estate, signals, leave_master, body))


def fork_opener(
    estate: "Estate", signals: SignalQueue, leave_master: Callable[[], None]
) -> Channel:
    """Fork a child that opens the logs afresh and sends LOGS, with what it could open.

    A stalled disk may hold it for as long as it likes, and nobody waits for it.
    Raises OSError when the system has no room for a process.
    """
    return _fork("log opener", estate, signals, leave_master, _be_opener)[1]


def _fork(
    name: str,
    estate: "Estate",
    signals: SignalQueue,
    leave_master: Callable[[], None],
    body: "Body",
) -> tuple[int, Channel]:
    ours, theirs = Channel.pair()
    try:
        with held_signals():
            pid = fork()
            if pid == 0:
                signals.leave_in_child()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:

        def leave() -> None:
            ours.close()
            leave_master()

        _live(name, estate, theirs, leave, body)
    theirs.close()
    return pid, ours


def _live(
    name: str,
    estate: "Estate",
    channel: Channel,
    leave: Callable[[], None],
    body: "Body",
) -> NoReturn:
    """Be the child until its end; nothing of the master's code runs after it."""
    code = EXIT_BOOT_FAILED
    try:
        leave()
        estate.log.after_fork(estate.error_log_fd)
        faulthandler.enable(estate.log.fd)
        code = body(estate, channel)
    except BaseException as error:
        _tell(estate, name, error)
    finally:
        estate.log.close()
        os._exit(code)


def _be_worker(slot: Slot, estate: "Estate", channel: Channel) -> int:
    gateway = estate.config.gateway
    set_process_name(f"fastgate-w{slot.index}")
    if gateway.pin:
        os.sched_setaffinity(0, [estate.cpus[slot.index % len(estate.cpus)]])
    if estate.admin is not None:
        estate.admin.close()
    for listener in estate.listeners:
        listener.keep_only(slot.index)
    drop(estate.identity)
    sockets = [listener.sockets[slot.index] for listener in estate.listeners]
    worker = Worker(
        slot.index,
        estate.region,
        channel,
        estate.log,
        drain_ms=gateway.drain,
        flush_ms=gateway.access_log_flush if estate.access_log_fd >= 0 else 0,
        sockets=sockets,
        values=estate.values,
    )

    def make_engine() -> Engine:
        return Engine(
            estate.region,
            slot.index,
            estate.plan,
            [(sock.fileno(), index) for index, sock in enumerate(sockets)],
            estate.access_log_fd,
        )

    try:
        worker.run(make_engine)
    except Exception as error:
        _tell(estate, slot.name, error)
        return EXIT_CRASHED if worker.is_ready else EXIT_BOOT_FAILED
    return 0


def _be_steward(estate: "Estate", channel: Channel) -> int:
    from fastgate.control.steward import Steward  # noqa: PLC0415 - brings aiohttp

    set_process_name("fastgate-s")
    estate.close_listeners()
    if estate.access_log_fd >= 0:
        os.close(estate.access_log_fd)
    drop(estate.identity)
    assert estate.admin is not None  # the master has no steward without it
    Steward(
        estate.region,
        estate.values,
        channel,
        estate.log,
        workers=estate.config.gateway.workers,
        started_s=estate.started_s,
    ).run(estate.admin)
    return 0


def _be_opener(estate: "Estate", channel: Channel) -> int:
    set_process_name("fastgate-logs")
    # Should it outlive the gateway: a successor finds paths and ports free.
    estate.close_listeners()
    if estate.admin is not None:
        estate.admin.close()
    logs, fds = estate.open_logs()
    channel.send(Message(Kind.LOGS, logs=logs), fds)
    return 0


def _tell(estate: "Estate", name: str, error: BaseException) -> None:
    """Say what ended a child: one line, and where it happened at level debug."""
    estate.log.alert(f"{name}: {type(error).__name__}: {error}")
    for part in traceback.format_exception(error):
        for line in part.rstrip().splitlines():
            estate.log.debug(line)


def word_of(child: Child) -> Message | None:
    """Read one message of a child: READY once, and after it LEFT once.

    Raises ChannelClosedError, and BadMessageError for anything else.
    """
    message = child.channel.receive()
    if message is None:
        return None
    is_first = message == Message(Kind.READY) and child.ready_s is None
    is_last = (
        message == Message(Kind.LEFT, message.value)
        and child.ready_s is not None
        and child.cut is None
    )
    if not (is_first or is_last):
        raise BadMessageError(f"it said {message.kind.name} at the wrong time")
    return message
