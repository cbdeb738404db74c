"""The master: forks, watches, replaces, stops. It serves nothing.

Runs in: master.

No event loop, and no thread but the log's: one selector over the queue of signals
and the channels of the children. It reads no request and trusts no child.

    wait -> obey signals -> reap the dead -> murder the stuck -> reload
    -> spawn what is due -> retire generations

What it keeps alive are generations (control/generation.py): the one that serves, and
beside it perhaps one that starts or leaves.
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
    ChannelClosedError,
    Kind,
    Message,
)
from fastgate.control.children import EXIT_BOOT_FAILED, fork_child
from fastgate.control.generation import Generation, Stage
from fastgate.control.libc import set_process_name
from fastgate.control.notify import notify
from fastgate.control.reload import Reloads
from fastgate.control.reopen import Reopening
from fastgate.control.resolve import StoppedError
from fastgate.control.signals import STOPS, SignalQueue, name_of
from fastgate.control.slot import LEAVE_WITHIN_S, STEWARD_SLOT, Child, Slot, word_of

if TYPE_CHECKING:
    from fastgate.config.load import Loaded
    from fastgate.config.model import Config
    from fastgate.control.sockets import BoundListener

# Of a worker's own loop (it beats each 250 ms): silence for this long is stuck.
STUCK_AFTER_S = 5.0
# Then SIGABRT, which dumps its stacks; and if even that does not end it, SIGKILL.
KILL_AFTER_ABORT_S = 2.0
WATCH_EVERY_S = 0.5
# A round of the master's loop that takes longer was not its own doing.
LONGEST_ROUND_S = 1.5
# This many workers dying in a row before they serve, while none serves: the
# gateway cannot work here, and whoever started it should know.
MOST_BOOT_FAILURES = 3
EXIT_NOT_STARTED = 3


def run(
    config: "Config",
    when_bound: "Callable[[list[BoundListener]], None] | None" = None,
    reread: "Callable[[], Loaded] | None" = None,
) -> int:
    """Run the gateway until it is told to stop.

    reread      reads the configuration again, for a reload; it raises FastgateError
    when_bound  called with what is listened on, before the first fork
    returns     0 after a stop, 3 when its workers cannot start
    Raises StartError before the first fork: an address, a file, a permission.
    """
    with ExitStack() as at_exit:
        # First of all: from here on a signal waits its turn, and files are removed.
        signals = SignalQueue()
        at_exit.callback(signals.close)
        try:
            estate = prepare(config, at_exit, signals, reread)
        except StoppedError:
            return 0
        if when_bound is not None:
            when_bound(estate.current.listeners)
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
        self._steward = Slot(STEWARD_SLOT)
        parts = (estate, signals, self._selector, self._leave_in_child)
        self._reloads = Reloads(*parts)
        self._reopening = Reopening(*parts, self._children)
        self._is_stopping = False
        self._boot_failures = 0
        self._exit_code = 0
        self._cut = 0
        self._woke_s = time.monotonic()

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
            self._reloads.advance()
            self._spawn()
            self._retire()
            self._log.check()
            self._dismiss_steward()
        self._selector.close()
        self._reopening.close()
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
            elif key.data is not None:
                key.data.hear()

    def _obey(self, number: int) -> None:
        if number in STOPS:
            if self._is_stopping or number == signal.SIGINT:
                self._stop_at_once()
            else:
                self._stop_gracefully()
        elif number == signal.SIGUSR1:
            self._reopening.ask()
        elif number == signal.SIGHUP and not self._is_stopping:
            self._reloads.ask()
        elif number == signal.SIGUSR2:
            self._log.warning("upgrade is not available in this release: restart it")

    def _reap(self) -> None:
        """Bury the dead; also orphans that were given to us as process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._reloads.reap(pid)
            for slot, child in list(self._children()):
                if child.pid == pid:
                    self._bury(slot, child, os.waitstatus_to_exitcode(status))

    def _murder(self) -> None:
        """End those that are stuck, and those that had to be gone by now."""
        now_s = time.monotonic()
        for slot, child in self._children():
            if child.due_s is not None and now_s >= child.due_s:
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
        for slot, generation in list(self._slots()):
            # Asked anew each time: a fork that fails may end gateway or generation.
            is_over = self._is_stopping or generation.stage is Stage.LEAVING
            if is_over or slot.child or time.monotonic() < slot.due_s:
                continue
            try:
                child = fork_child(
                    slot, generation, self._estate, self._signals, self._leave_in_child
                )
            except OSError as error:
                self._log.alert(f"cannot fork {slot.name}: {error.strerror}")
                self._fail(slot, 0.0, "there is no room for its process")
                continue
            slot.child = child
            slot.generation = generation.number
            if not slot.is_steward:
                self._region.begin_worker(slot.row, child.pid, generation.number)
            self._selector.register(child.channel, selectors.EVENT_READ, slot)

    def _retire(self) -> None:
        """Let generations go whose last worker has."""
        for generation in list(self._estate.generations):
            if generation.stage is Stage.LEAVING and not any(generation.children()):
                self._estate.retire(generation)
                self._log.info(f"generation {generation.number} has left")

    def _dismiss_steward(self) -> None:
        """Let it go when it is an earlier generation's: it knows other endpoints.

        At a stop it goes last, so that a drain can be watched.
        """
        child = self._steward.child
        if child is None or child.is_condemned:
            return
        if self._is_stopping:
            is_due = not any(slot.child for slot in self._worker_slots())
        else:
            is_due = self._steward.generation != self._estate.current.number
        if is_due:
            self._reloads.put_off(child)
            child.stop(Message(Kind.STOP), time.monotonic() + LEAVE_WITHIN_S)

    # -- what a child says, and its end

    def _hear(self, slot: Slot) -> None:
        child = slot.child
        if child is None:
            return
        try:
            message = word_of(child, may_ask=slot.is_steward)
        except ChannelClosedError:
            # It is leaving; if it is not, nobody could ever tell it anything.
            self._selector.unregister(child.channel)
            child.questions = 0
            if child.kill_at_s is None:
                child.kill_at_s = time.monotonic() + LEAVE_WITHIN_S
            return
        except BadMessageError as error:
            self._log.alert(f"{slot.name} (pid {child.pid}) is not itself: {error}")
            child.questions = 0
            child.kill_at_s = time.monotonic()
            return
        if message is None:
            return
        child.hear(message)
        if message.kind is Kind.RELOAD:
            self._reloads.ask(child)
            if child.is_condemned:
                self._reloads.put_off(child)
        elif message.kind is Kind.READY and not slot.is_steward:
            self._welcome(slot, child)

    def _welcome(self, slot: Slot, child: Child) -> None:
        """Count a worker that serves from now on."""
        current = self._estate.current
        if slot.generation != current.number:
            return  # of a generation that starts: told when all of it do
        self._boot_failures = 0
        if current.stage is Stage.SERVING:
            self._log.info(f"{slot.name} (pid {child.pid}) is ready")
        elif not current.unready():
            current.stage = Stage.SERVING
            self._log.info(f"ready, {counted(len(current.slots), 'worker')}")
            notify("READY=1")

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
        has_left = child.is_condemned and code == 0
        if not slot.is_steward:
            # One that was killed could not say it: its gauge stands as it was.
            held = self._region.worker(slot.row)["exchanges"]
            cut = held if child.cut is None else child.cut
            leases = self._region.reclaim_worker(slot.row)
            self._region.set_worker_state(slot.row, "left" if has_left else "dead")
        elif not self._estate.needs_steward:
            # Its last check may have written behind the commit that ended all checks.
            self._estate.membership.settle(self._estate.current.values.upstreams)
        if self._is_stopping or (has_left and not slot.is_steward):
            self._cut += cut
        if not self._is_stopping and not has_left:
            self._mourn(slot, child, code, leases)

    def _mourn(self, slot: Slot, child: Child, code: int, leases: int) -> None:
        """Say how a child ended that was not told to, and plan its successor."""
        how = f"was ended by {name_of(-code)}" if code < 0 else f"left with {code}"
        given_back = f"; {leases} leases given back" if leases else ""
        self._log.alert(f"{slot.name} (pid {child.pid}) {how}{given_back}")
        healthy_s = time.monotonic() - child.ready_s if child.ready_s else 0.0
        self._fail(
            slot,
            healthy_s,
            f"{slot.name} {how}",
            was_killed=code == -signal.SIGKILL and not child.is_condemned,
            never_served=child.ready_s is None,
            is_hopeless=code == EXIT_BOOT_FAILED,
        )

    def _fail(
        self,
        slot: Slot,
        healthy_s: float,
        why: str,
        *,
        was_killed: bool = False,
        never_served: bool = True,
        is_hopeless: bool = False,
    ) -> None:
        """Decide what becomes of a slot that has lost its child, or got none."""
        if not slot.is_steward:
            if self._estate.generation_of(slot).stage is Stage.LEAVING:
                return
            if self._reloads.is_starting(slot.generation):
                self._reloads.abandon(why)
                return
        delay_s = slot.backoff.next_delay_s(healthy_s, was_killed=was_killed)
        slot.due_s = time.monotonic() + delay_s
        if delay_s:
            self._log.info(f"{slot.name} starts again in {delay_s:.2f} s")
        # A steward's failure is only logged.
        if never_served and not slot.is_steward:
            self._count_boot_failure(is_hopeless=is_hopeless)

    def _count_boot_failure(self, *, is_hopeless: bool) -> None:
        """Give up where no worker can start."""
        self._boot_failures += 1
        current = self._estate.current
        is_alone = len(current.unready()) == len(current.slots)
        is_booting = current.stage is Stage.STARTING
        if (is_hopeless and is_booting) or (
            is_alone and self._boot_failures >= MOST_BOOT_FAILURES
        ):
            self._log.alert("workers cannot start: giving up")
            self._exit_code = EXIT_NOT_STARTED
            self._stop_at_once()

    # -- stopping

    def _stop_gracefully(self) -> None:
        """Let workers finish what they have, within the drain time."""
        drain_ms = self._estate.current.config.gateway.drain
        self._log.info(f"stopping: draining for at most {drain_ms / 1000:g} s")
        kill_at_s = time.monotonic() + drain_ms / 1000 + LEAVE_WITHIN_S
        self._stop_workers(Message(Kind.DRAIN, drain_ms), kill_at_s)

    def _stop_at_once(self) -> None:
        self._log.info("stopping at once")
        self._stop_workers(Message(Kind.STOP), time.monotonic() + LEAVE_WITHIN_S)

    def _stop_workers(self, message: Message, kill_at_s: float) -> None:
        if not self._is_stopping:
            notify("STOPPING=1")
            self._reloads.stop()
        self._is_stopping = True
        # First ours: a worker's copy is then the last one, and when it has emptied
        # its queue and closes, new clients are refused instead of kept waiting.
        self._estate.stop_listening()
        for slot, child in self._children():
            if not slot.is_steward:
                child.stop(message, min(kill_at_s, child.kill_at_s or kill_at_s))

    def _say_stopped(self) -> None:
        """Say, last of all, what the gateway did in its life."""
        rows = [self._region.worker(row) for row in range(self._region.workers)]
        requests = sum(row["requests"] for row in rows if row["state"] != "empty")
        uptime_s = time.monotonic() - self._estate.started_s
        self._log.info(
            f"stopped after {uptime_s:.0f} s: {counted(requests, 'request')} served,"
            f" {self._cut or 'none'} cut"
        )

    # -- questions

    def _slots(self) -> Iterator[tuple[Slot, Generation]]:
        """Give every slot, and for which generation it is filled."""
        for generation in self._estate.generations:
            for slot in generation.slots:
                yield slot, generation
        if self._steward.child is not None or self._estate.needs_steward:
            yield self._steward, self._estate.current

    def _worker_slots(self) -> Iterator[Slot]:
        return (slot for slot, _ in self._slots() if not slot.is_steward)

    def _children(self) -> Iterator[tuple[Slot, Child]]:
        for slot, _ in self._slots():
            if slot.child is not None:
                yield slot, slot.child

    def _is_over(self) -> bool:
        return self._is_stopping and not any(slot.child for slot, _ in self._slots())

    def _due_times(self) -> Iterator[float]:
        yield from self._reloads.due_times()
        for slot, generation in self._slots():
            if slot.child is not None:
                if slot.child.due_s is not None:
                    yield slot.child.due_s
            elif not self._is_stopping and generation.stage is not Stage.LEAVING:
                yield slot.due_s

    def _silence_s(self, slot: Slot, child: Child, now_s: float) -> float:
        """Say for how long a worker's heart has not beaten."""
        age_s = self._region.heartbeat_age_ms(slot.row) / 1000
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
        self._reopening.close()
        self._reloads.leave_in_child()
        for _, child in self._children():
            child.channel.close()
        if self._estate.pid_file is not None:
            self._estate.pid_file.leave_in_child()
