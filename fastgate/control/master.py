"""The master: forks, watches, replaces, stops. It serves nothing.

Runs in: master.

No event loop, and no thread but the log's: one selector over the queue of signals
and the channels of the children. It reads no request and trusts no child.

    wait -> obey signals -> reap the dead -> murder the stuck -> spawn what is due
"""

import gc
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from fastgate.control.boot import Estate, prepare
from fastgate.control.channel import (
    BadMessageError,
    Channel,
    ChannelClosedError,
    Kind,
    Logs,
    Message,
)
from fastgate.control.children import (
    EXIT_BOOT_FAILED,
    STEWARD_SLOT,
    Child,
    Slot,
    fork_child,
    fork_opener,
    word_of,
)
from fastgate.control.libc import set_process_name
from fastgate.control.notify import notify
from fastgate.control.resolve import StoppedError
from fastgate.control.signals import STOPS, SignalQueue, name_of

if TYPE_CHECKING:
    from fastgate.config.model import Config
    from fastgate.control.sockets import BoundListener

# Of a worker's own loop (it beats each 250 ms): silence for this long is stuck.
STUCK_AFTER_S = 5.0
# Then SIGABRT, which dumps its stacks; and if even that does not end it, SIGKILL.
KILL_AFTER_ABORT_S = 2.0
WATCH_EVERY_S = 0.5
# A round of the master's loop that takes longer was not its own doing.
LONGEST_ROUND_S = 1.5
# For leaving at once, and beyond the drain: what closing takes a sound child.
LEAVE_WITHIN_S = 1.0
# This many workers dying in a row before they serve, while none serves: the
# gateway cannot work here, and whoever started it should know.
MOST_BOOT_FAILURES = 3
EXIT_NOT_STARTED = 3


def run(
    config: "Config", when_bound: "Callable[[list[BoundListener]], None] | None" = None
) -> int:
    """Run the gateway until it is told to stop.

    when_bound  called with what is listened on, before the first fork
    returns     0 after a stop, 3 when its workers cannot start
    Raises StartError before the first fork: an address, a file, a permission.
    """
    with ExitStack() as at_exit:
        # First of all: from here on a signal waits its turn, and files are removed.
        signals = SignalQueue()
        at_exit.callback(signals.close)
        try:
            estate = prepare(config, at_exit, signals)
        except StoppedError:
            return 0
        if when_bound is not None:
            when_bound(estate.listeners)
        return Master(estate, signals).supervise()


def counted(count: int, thing: str) -> str:
    """Write `1 worker`, `2 workers`."""
    return f"{count} {thing}{'s' if count != 1 else ''}"


class Master:
    """The supervisor of one gateway."""

    def __init__(self, estate: Estate, signals: SignalQueue) -> None:
        self._estate = estate
        self._log = estate.log
        self._region = estate.region
        self._signals = signals
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._workers = [Slot(i) for i in range(estate.config.gateway.workers)]
        # Without an admin socket a steward would have nothing to do.
        self._slots = list(self._workers)
        if estate.admin is not None:
            self._slots.append(Slot(STEWARD_SLOT))
        self._is_booting = True
        self._is_stopping = False
        self._boot_failures = 0
        self._exit_code = 0
        self._cut = 0
        self._woke_s = time.monotonic()
        # Of a child that opens the logs afresh, and whether it was asked for again.
        self._opener: Channel | None = None
        self._reopens_again = False

    def supervise(self) -> int:
        """Keep every slot filled until told to stop; returns the exit code."""
        set_process_name("fastgate-m")
        # What exists now is inherited by every child: never scanned, so its pages
        # stay shared.
        gc.collect()
        gc.freeze()
        self._spawn()
        while not self._is_over():
            self._wait()
            for number in self._signals.take():
                self._obey(number)
            self._reap()
            self._murder()
            self._spawn()
            self._log.check()
            self._dismiss_steward()
        self._selector.close()
        if self._opener is not None:
            self._opener.close()
        self._say_stopped()
        return self._exit_code

    # -- the verbs of the loop, in its order

    def _wait(self) -> None:
        """Sleep until a signal, a word of a child, or the next thing due."""
        now_s = time.monotonic()
        due_s = [now_s + WATCH_EVERY_S, *self._due_times()]
        timeout_s = max(0.0, min(due_s) - now_s)
        events = self._selector.select(timeout_s)
        woke_s, self._woke_s = self._woke_s, time.monotonic()
        if self._woke_s - woke_s > LONGEST_ROUND_S:
            self._pardon()
        for key, _ in events:
            if isinstance(key.data, Slot):
                self._hear(key.data)
            elif key.fileobj is self._opener:
                self._hand_on_logs(self._opener)

    def _obey(self, number: int) -> None:
        if number in STOPS:
            if self._is_stopping or number == signal.SIGINT:
                self._stop_at_once()
            else:
                self._stop_gracefully()
        elif number == signal.SIGUSR1:
            self._reopen_logs()
        elif number in (signal.SIGHUP, signal.SIGUSR2):
            what = "reload" if number == signal.SIGHUP else "upgrade"
            self._log.warning(f"{what} is not available in this release: restart it")

    def _reap(self) -> None:
        """Bury the dead; also orphans that were given to us as process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for slot, child in self._children():
                if child.pid == pid:
                    self._bury(slot, child, os.waitstatus_to_exitcode(status))

    def _murder(self) -> None:
        """End those that are stuck, and those that had to be gone by now."""
        now_s = time.monotonic()
        for slot, child in self._children():
            if child.kill_at_s is not None and now_s >= child.kill_at_s:
                self._log.warning(
                    f"{slot.name} (pid {child.pid}) does not leave: killed"
                )
                child.kill_at_s = None
                child.is_condemned = True
                child.signal(signal.SIGKILL)
            elif not slot.is_steward and child.aborted_s is None:
                silent_s = self._silence_s(slot, child, now_s)
                if silent_s >= STUCK_AFTER_S:
                    self._log.alert(
                        f"{slot.name} (pid {child.pid}) is stuck for {silent_s:.1f} s:"
                        " aborted"
                    )
                    child.aborted_s = now_s
                    child.kill_at_s = now_s + KILL_AFTER_ABORT_S
                    child.is_condemned = True
                    child.signal(signal.SIGABRT)

    def _spawn(self) -> None:
        """Fill the empty slots that are due."""
        for slot in self._slots:
            # Asked anew each time: a fork that fails may end the gateway.
            if self._is_stopping or slot.child or time.monotonic() < slot.due_s:
                continue
            try:
                child = fork_child(
                    slot, self._estate, self._signals, self._leave_in_child
                )
            except OSError as error:
                self._log.alert(f"cannot fork {slot.name}: {error.strerror}")
                self._schedule(slot, 0.0, was_killed=False)
                self._count_boot_failure(slot, is_hopeless=False)
                continue
            slot.child = child
            if not slot.is_steward:
                self._region.begin_worker(
                    slot.index, child.pid, self._estate.generation
                )
            self._selector.register(child.channel, selectors.EVENT_READ, slot)

    def _dismiss_steward(self) -> None:
        """Let it go last, so that a drain can be watched."""
        if not self._is_stopping or any(slot.child for slot in self._workers):
            return
        for _, child in self._children():
            if not child.is_condemned:
                child.stop(Message(Kind.STOP), time.monotonic() + LEAVE_WITHIN_S)

    # -- what a child says, and its end

    def _hear(self, slot: Slot) -> None:
        child = slot.child
        if child is None:
            return
        try:
            message = word_of(child)
        except ChannelClosedError:
            # It is leaving; if it is not, nobody could ever tell it anything.
            self._selector.unregister(child.channel)
            if child.kill_at_s is None:
                child.kill_at_s = time.monotonic() + LEAVE_WITHIN_S
            return
        except BadMessageError as error:
            self._log.alert(f"{slot.name} (pid {child.pid}) is not itself: {error}")
            child.kill_at_s = time.monotonic()
            return
        if message is None:
            return
        child.hear(message)
        if message.kind is Kind.LEFT or slot.is_steward:
            return
        self._boot_failures = 0
        count = len(self._workers)
        if self._is_booting and len(self._ready_workers()) == count:
            self._is_booting = False
            self._log.info(f"ready, {counted(count, 'worker')}")
            notify("READY=1")
        elif not self._is_booting:
            self._log.info(f"{slot.name} (pid {child.pid}) is ready")

    def _bury(self, slot: Slot, child: Child, code: int) -> None:
        """Give back what a dead child held, and decide when to replace it.

        code  its exit code; -N when signal N ended it
        """
        slot.child = None
        with suppress(ChannelClosedError, BadMessageError):
            # Its last words may have come with its end.
            while (message := word_of(child)) is not None:
                child.hear(message)
        if child.channel in self._selector.get_map():
            self._selector.unregister(child.channel)
        child.channel.close()
        leases = cut = 0
        if not slot.is_steward:
            # One that was killed could not say it: its gauge stands as it was.
            held = self._region.worker(slot.index)["exchanges"]
            cut = held if child.cut is None else child.cut
            leases = self._region.reclaim_worker(slot.index)
            has_left = self._is_stopping and code == 0
            self._region.set_worker_state(slot.index, "left" if has_left else "dead")
        if self._is_stopping:
            self._cut += cut
            return
        how = f"was ended by {name_of(-code)}" if code < 0 else f"left with {code}"
        given_back = f"; {leases} leases given back" if leases else ""
        self._log.alert(f"{slot.name} (pid {child.pid}) {how}{given_back}")
        healthy_s = time.monotonic() - child.ready_s if child.ready_s else 0.0
        was_killed = code == -signal.SIGKILL and not child.is_condemned
        self._schedule(slot, healthy_s, was_killed=was_killed)
        if child.ready_s is None:
            self._count_boot_failure(slot, is_hopeless=code == EXIT_BOOT_FAILED)

    def _schedule(self, slot: Slot, healthy_s: float, *, was_killed: bool) -> None:
        delay_s = slot.backoff.next_delay_s(healthy_s, was_killed=was_killed)
        slot.due_s = time.monotonic() + delay_s
        if delay_s:
            self._log.info(f"{slot.name} starts again in {delay_s:.2f} s")

    def _count_boot_failure(self, slot: Slot, *, is_hopeless: bool) -> None:
        """Give up where no worker can start; a steward's failure is only logged."""
        if slot.is_steward:
            return
        self._boot_failures += 1
        is_alone = not self._ready_workers()
        if (is_hopeless and self._is_booting) or (
            is_alone and self._boot_failures >= MOST_BOOT_FAILURES
        ):
            self._log.alert("workers cannot start: giving up")
            self._exit_code = EXIT_NOT_STARTED
            self._stop_at_once()

    # -- stopping

    def _stop_gracefully(self) -> None:
        """Let workers finish what they have, within the drain time."""
        drain_ms = self._estate.config.gateway.drain
        self._log.info(f"stopping: draining for at most {drain_ms / 1000:g} s")
        kill_at_s = time.monotonic() + drain_ms / 1000 + LEAVE_WITHIN_S
        self._stop_workers(Message(Kind.DRAIN, drain_ms), kill_at_s)

    def _stop_at_once(self) -> None:
        self._log.info("stopping at once")
        self._stop_workers(Message(Kind.STOP), time.monotonic() + LEAVE_WITHIN_S)

    def _stop_workers(self, message: Message, kill_at_s: float) -> None:
        if not self._is_stopping:
            notify("STOPPING=1")
        self._is_stopping = True
        # First ours: a worker's copy is then the last one, and when it has emptied
        # its queue and closes, new clients are refused instead of kept waiting.
        self._estate.stop_listening()
        for slot, child in self._children():
            if not slot.is_steward:
                child.stop(message, min(kill_at_s, child.kill_at_s or kill_at_s))

    def _say_stopped(self) -> None:
        """Say, last of all, what the gateway did in its life."""
        rows = [self._region.worker(slot.index) for slot in self._workers]
        requests = sum(row["requests"] for row in rows)
        uptime_s = time.monotonic() - self._estate.started_s
        self._log.info(
            f"stopped after {uptime_s:.0f} s: {counted(requests, 'request')} served,"
            f" {self._cut or 'none'} cut"
        )

    # -- logs

    def _reopen_logs(self) -> None:
        """Have the logs opened afresh, by a child: the disk may be stalled."""
        if self._opener is not None:
            self._reopens_again = True
            return
        try:
            self._opener = fork_opener(
                self._estate, self._signals, self._leave_in_child
            )
        except OSError as error:
            self._log.alert(f"cannot fork to reopen the logs: {error.strerror}")
            return
        self._selector.register(self._opener, selectors.EVENT_READ)

    def _hand_on_logs(self, opener: Channel) -> None:
        """Take what the opener could open, and give it to the children."""
        logs, fds = Logs.NONE, []
        try:
            if received := opener.receive_with_logs():
                logs, fds = received[0].logs, received[1]
        except (ChannelClosedError, BadMessageError):
            self._log.alert("logs not reopened: the child that opens them ended early")
        self._selector.unregister(opener)
        opener.close()
        self._opener = None
        if logs:
            self._estate.take_logs(logs, fds)
            self._log.info("logs reopened")
        ours = {
            Logs.ACCESS: self._estate.access_log_fd,
            Logs.ERROR: self._estate.error_log_fd,
        }
        for slot, child in self._children():
            its = logs & ~Logs.ACCESS if slot.is_steward else logs
            sent = tuple(fd for log, fd in ours.items() if log in its)
            if sent and not child.channel.send(Message(Kind.LOGS, logs=its), sent):
                self._log.warning(f"{slot.name} did not take the reopened logs")
        if self._reopens_again:
            self._reopens_again = False
            self._reopen_logs()

    # -- questions

    def _children(self) -> Iterator[tuple[Slot, Child]]:
        for slot in self._slots:
            if slot.child is not None:
                yield slot, slot.child

    def _ready_workers(self) -> list[Slot]:
        return [s for s in self._workers if s.child and s.child.ready_s is not None]

    def _is_over(self) -> bool:
        return self._is_stopping and not any(slot.child for slot in self._slots)

    def _due_times(self) -> Iterator[float]:
        for slot in self._slots:
            if slot.child is not None:
                if slot.child.kill_at_s is not None:
                    yield slot.child.kill_at_s
            elif not self._is_stopping:
                yield slot.due_s

    def _silence_s(self, slot: Slot, child: Child, now_s: float) -> float:
        """Say for how long a worker's heart has not beaten."""
        age_s = self._region.heartbeat_age_ms(slot.index) / 1000
        return min(age_s, now_s - child.trusted_s)

    def _pardon(self) -> None:
        """Start the watch anew: what stopped the master stopped the workers too.

        A stopped terminal job, a frozen container, a suspended machine.
        """
        for _, child in self._children():
            child.trusted_s = time.monotonic()

    def _leave_in_child(self) -> None:
        """Close, in a child, what is the master's alone.

        Above all the channels of its siblings: a copy kept here would hide the
        master's death from them.
        """
        self._selector.close()
        if self._opener is not None:
            self._opener.close()
        for _, child in self._children():
            child.channel.close()
        if self._estate.pid_file is not None:
            self._estate.pid_file.leave_in_child()
