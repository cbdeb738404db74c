"""Children: how one is forked, and what it does first.

Runs in: master (the fork); the bodies run in worker, steward, and in children that live
as long as opening the logs or trying a new configuration takes.

Everything heavy is imported before the fork, so that a child is ready within
milliseconds; the master has no loop, and no thread but the one that writes its log
(dataplane/telemetry/logwriter.pyx), which a child leaves behind.
"""

import faulthandler
import os
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from fastgate._core import Engine
from fastgate.control.channel import Channel, Kind, Message
from fastgate.control.libc import fork, set_process_name
from fastgate.control.privileges import drop
from fastgate.control.signals import SignalQueue, held_signals
from fastgate.control.slot import Child, Slot
from fastgate.control.sockets import start_listening
from fastgate.control.trial import hold_trial
from fastgate.control.worker import Worker

if TYPE_CHECKING:
    from fastgate.control.boot import Estate
    from fastgate.control.generation import Generation

    # What a child does once it is itself; returns its exit code.
    Body = Callable[[Estate, Channel], int]

# A child that fails before it is ready exits with this, which no signal, shell or
# interpreter uses; the master then stops instead of forking it for ever.
EXIT_BOOT_FAILED = 97
EXIT_CRASHED = 1


def fork_child(
    slot: Slot,
    generation: "Generation",
    estate: "Estate",
    signals: SignalQueue,
    leave_master: Callable[[], None],
) -> Child:
    """Fork the child of a slot.

    generation    the slot's; for the steward the one that serves
    leave_master  closes, in the child, what is the master's alone
    Raises OSError when the system has no room for a process.
    """
    body = _be_steward if slot.is_steward else partial(_be_worker, slot, generation)
    pid, channel = _fork(
        slot.name, generation, estate, signals, leave_master=leave_master, body=body
    )
    return Child(pid, channel)


def fork_opener(
    estate: "Estate", signals: SignalQueue, leave_master: Callable[[], None]
) -> Channel:
    """Fork a child that opens the logs afresh and sends LOGS, with what it could open.

    A stalled disk may hold it for as long as it likes, and nobody waits for it.
    Raises OSError when the system has no room for a process.
    """
    _, channel = _fork(
        "log opener",
        estate.current,
        estate,
        signals,
        leave_master=leave_master,
        body=_be_opener,
    )
    return channel


def fork_trial(
    estate: "Estate", signals: SignalQueue, leave_master: Callable[[], None], rows: int
) -> tuple[int, int]:
    """Fork a child that tries the new configuration; see control/trial.py.

    rows     of shared memory that another generation may have
    returns  its pid, and the reading end of the pipe with its verdict
    Raises OSError when the system has no room for a process.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def leave() -> None:
        os.close(reader)
        leave_master()

    body = partial(_be_trial, writer, rows)
    try:
        pid, channel = _fork(
            "trial", estate.current, estate, signals, leave_master=leave, body=body
        )
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    # It has its pipe to speak, and hears nothing.
    channel.close()
    return pid, reader


def _fork(
    name: str,
    generation: "Generation",
    estate: "Estate",
    signals: SignalQueue,
    *,
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

        _live(name, generation, estate, theirs, leave=leave, body=body)
    theirs.close()
    return pid, ours


def _live(
    name: str,
    generation: "Generation",
    estate: "Estate",
    channel: Channel,
    *,
    leave: Callable[[], None],
    body: "Body",
) -> NoReturn:
    """Be the child until its end; nothing of the master's code runs after it."""
    code = EXIT_BOOT_FAILED
    try:
        leave()
        estate.close_others(generation)
        gateway = generation.config.gateway
        estate.log.after_fork(
            generation.error_log_fd, gateway.error_log, gateway.log_level
        )
        faulthandler.enable(estate.log.fd)
        code = body(estate, channel)
    except BaseException as error:
        _tell(estate, name, error)
    finally:
        estate.log.close()
        os._exit(code)


def _be_worker(
    slot: Slot, generation: "Generation", estate: "Estate", channel: Channel
) -> int:
    gateway = generation.config.gateway
    set_process_name(f"fastgate-w{slot.index}")
    if gateway.pin:
        os.sched_setaffinity(0, [estate.cpus[slot.index % len(estate.cpus)]])
    if estate.admin is not None:
        estate.admin.close()
    sockets = [listener.sockets[slot.index] for listener in generation.listeners]
    estate.close_listeners(but=sockets)
    drop(generation.identity)
    worker = Worker(
        slot.name,
        slot.row,
        estate.region,
        channel,
        estate.log,
        drain_ms=gateway.drain,
        flush_ms=gateway.access_log_flush if generation.access_log_fd >= 0 else 0,
        sockets=sockets,
        values=generation.values,
    )

    def make_engine() -> Engine:
        start_listening(sockets, gateway.backlog)
        return Engine(
            estate.region,
            slot.row,
            generation.plan,
            [(sock.fileno(), index) for index, sock in enumerate(sockets)],
            generation.access_log_fd,
            generation.lane,
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
    generation = estate.current
    if generation.access_log_fd >= 0:
        os.close(generation.access_log_fd)
    drop(generation.identity)
    Steward(
        estate.region,
        generation.values,
        channel,
        estate.log,
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


def _be_trial(writer: int, rows: int, estate: "Estate", _channel: Channel) -> int:
    set_process_name("fastgate-trial")
    estate.close_listeners()
    if estate.admin is not None:
        estate.admin.close()
    assert estate.reread is not None  # the master has looked
    hold_trial(estate.reread, estate.current.config, rows, writer)
    return 0


def _tell(estate: "Estate", name: str, error: BaseException) -> None:
    """Say what ended a child: one line, and where it happened at level debug."""
    estate.log.alert(f"{name}: {type(error).__name__}: {error}")
    for part in traceback.format_exception(error):
        for line in part.rstrip().splitlines():
            estate.log.debug(line)
