"""Reloads: one at a time, each behind the other, and nothing of it for long.

Runs in: master.

    wanted -> (an old generation leaves: wait) -> trial -> start -> commit
                                                    |        |
                                                    '--------'-> refused, abandoned:
                                                                 the old one serves on

A trial (control/trial.py) runs in a child, a start is the generation's own workers: the
master only looks, and goes on watching. Who asks while one is under way gets another,
one for all of them, because the file may have changed since.
"""

import gc
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from fastgate.control.boot import Estate, announce
from fastgate.control.channel import MOST_DATA_BYTES, Kind, Message
from fastgate.control.children import fork_trial
from fastgate.control.generation import Generation, Stage, begin
from fastgate.control.notify import notify
from fastgate.control.resolve import AskedNames
from fastgate.control.signals import SignalQueue
from fastgate.control.slot import Child
from fastgate.control.sockets import renew
from fastgate.control.trial import (
    MOST_ANSWER_BYTES,
    TRIED_WITHIN_S,
    Verdict,
    changes,
    check_for_reload,
)
from fastgate.errors import FastgateError, printable

# For workers to be ready: they are forked with everything imported.
READY_WITHIN_S = 10.0
# Of faults told in the log: a file of another kind has thousands.
_MOST_LINES = 100
_READ_BYTES = 65536


class _Trial(NamedTuple):
    """A child that tries the new configuration.

    reader  of the pipe that it writes its verdict to
    """

    pid: int
    reader: int
    until_s: float
    parts: list[bytes]


class Reloads:
    """The reloads of one gateway."""

    def __init__(
        self,
        estate: Estate,
        signals: SignalQueue,
        selector: selectors.BaseSelector,
        leave_in_child: Callable[[], None],
    ) -> None:
        """Take what belongs to the master.

        selector        wakes it; events with this object as data are for `hear`
        leave_in_child  closes, in a child, what is the master's alone
        """
        self._estate = estate
        self._log = estate.log
        self._signals = signals
        self._selector = selector
        self._leave_in_child = leave_in_child
        self._trial: _Trial | None = None
        self._is_reaped = False
        self._starting: Generation | None = None
        self._ready_by_s = 0.0
        # Those who asked for the one under way, and for the next.
        self._askers: list[Child] = []
        self._next_askers: list[Child] = []
        self._is_wanted = False
        self._has_told_of_wait = False

    def ask(self, asker: Child | None = None) -> None:
        """Want one. It begins when nothing is in its way; `asker` is answered then."""
        self._is_wanted = True
        if asker is not None:
            self._next_askers.append(asker)

    def put_off(self, asker: Child) -> None:
        """Answer one that is to leave before the reload that it asked for is made."""
        data = (
            f"generation {self._estate.current.number} serves; another reload follows"
        )
        for askers in (self._askers, self._next_askers):
            while asker in askers:
                askers.remove(asker)
                asker.channel.send(Message(Kind.RELOADED, 1, data=data.encode()))
                asker.answered()

    def advance(self) -> None:
        """Go on with what can go on; called in every round of the master."""
        now_s = time.monotonic()
        if self._trial is not None:
            if now_s >= self._trial.until_s:
                self._end_trial()
                self._refuse([f"it was not checked within {TRIED_WITHIN_S:g} s"])
        elif self._starting is not None:
            unready = self._starting.unready()
            if not unready:
                self._commit(self._starting)
            elif now_s >= self._ready_by_s:
                who = ", ".join(slot.name for slot in unready)
                self.abandon(f"not ready within {READY_WITHIN_S:g} s: {who}")
        elif self._is_wanted and self._estate.current.stage is Stage.SERVING:
            self._begin()

    def due_times(self) -> Iterator[float]:
        """Give when `advance` has something to do at the latest, CLOCK_MONOTONIC."""
        if self._trial is not None:
            yield self._trial.until_s
        if self._starting is not None:
            yield self._ready_by_s

    def hear(self) -> None:
        """Read of the verdict what is there; at its end, start the generation."""
        trial = self._trial
        if trial is None:
            return
        part = os.read(trial.reader, _READ_BYTES)
        trial.parts.append(part)
        if sum(map(len, trial.parts)) > MOST_ANSWER_BYTES:
            part = b""
            trial.parts.clear()
        if part:
            return
        self._end_trial()
        verdict = Verdict.parse(b"".join(trial.parts))
        for line in verdict.warnings:
            self._log.warning(f"reload: {line}")
        if verdict.faults:
            self._refuse(verdict.faults)
        else:
            self._start(AskedNames(verdict.names))

    def reap(self, pid: int) -> None:
        """Hear that a child that has no slot has ended: its pid is free from now on."""
        if self._trial is not None and self._trial.pid == pid:
            self._is_reaped = True

    def abandon(self, why: str) -> None:
        """Give up the generation that starts."""
        new = self._starting
        assert new is not None  # who calls has seen it
        self._starting = None
        new.leave(self._estate.current)
        self._refuse([f"generation {new.number} is given up: {why}"])

    def is_starting(self, generation: int) -> bool:
        """Say whether that generation starts, and is not the gateway's first."""
        return self._starting is not None and self._starting.number == generation

    def stop(self) -> None:
        """Forget all of it: the gateway stops."""
        if self._trial is not None:
            self._end_trial()
        self._starting = None
        self._is_wanted = False
        self._askers += self._next_askers
        self._next_askers = []
        self._answer(False, ["the gateway stops"])

    def leave_in_child(self) -> None:
        """Close, in a child, what is the master's."""
        if self._trial is not None:
            os.close(self._trial.reader)

    # -- its steps

    def _begin(self) -> None:
        estate = self._estate
        for other in estate.generations:
            if other.stage is Stage.LEAVING:
                self._tell_of_wait(other)
                return
        self._is_wanted = self._has_told_of_wait = False
        self._askers, self._next_askers = self._next_askers, []
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        if estate.reread is None:
            self._refuse(["this gateway has no configuration that could be read again"])
            return
        self._log.info("reload: checking the configuration")
        try:
            pid, reader = fork_trial(
                estate, self._signals, self._leave_in_child, len(estate.free_rows())
            )
        except OSError as error:
            self._refuse([f"cannot fork: {error.strerror}"])
            return
        self._is_reaped = False
        until_s = time.monotonic() + TRIED_WITHIN_S
        self._trial = _Trial(pid, reader, until_s, [])
        self._selector.register(reader, selectors.EVENT_READ, self)

    def _tell_of_wait(self, other: Generation) -> None:
        if not self._has_told_of_wait:
            self._has_told_of_wait = True
            self._log.info(
                f"reload: waiting for generation {other.number}, which leaves within"
                f" {other.config.gateway.drain / 1000:g} s"
            )

    def _end_trial(self) -> None:
        trial, self._trial = self._trial, None
        assert trial is not None  # who calls has seen it
        self._selector.unregister(trial.reader)
        os.close(trial.reader)
        if not self._is_reaped:
            with suppress(ProcessLookupError):
                os.kill(trial.pid, signal.SIGKILL)

    def _start(self, names: AskedNames) -> None:
        """Make the generation; the master's next round forks its workers."""
        estate = self._estate
        rows = estate.free_rows()
        try:
            assert estate.reread is not None  # the trial has read it too
            loaded = estate.reread()
            check_for_reload(loaded, estate.current.config, len(rows))
            new = begin(
                loaded.config,
                names,
                self._log,
                number=estate.next_number(),
                rows=rows,
                membership=estate.membership,
                before=estate.current,
            )
        except FastgateError as error:
            self._refuse(str(error).splitlines())
            return
        except Exception as error:  # whatever it is, what serves goes on serving
            self._refuse([f"{type(error).__name__}: {error}"])
            return
        estate.generations.append(new)
        self._starting = new
        self._ready_by_s = time.monotonic() + READY_WITHIN_S
        # As at the start: what children inherit is never scanned there.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def _commit(self, new: Generation) -> None:
        estate, old = self._estate, self._estate.current
        self._starting = None
        lines = changes(old.config, new.config)
        gateway = new.config.gateway
        if gateway.error_log != old.config.gateway.error_log:
            fd = os.dup(new.error_log_fd)
        else:
            fd = -1
        estate.log.change(gateway.error_log, gateway.log_level, fd)
        renew(new.listeners, gateway)
        estate.membership.settle(new.values.upstreams)
        new.stage = Stage.SERVING
        estate.current = new
        before = {one.place: one for one in old.listeners}
        after = {one.place for one in new.listeners}
        announce([o for o in new.listeners if o.place not in before], self._log)
        for place, one in before.items():
            if place not in after:
                self._log.info(
                    f"no longer listening on {one.url} (listener {one.name})"
                )
        old.leave(new)
        count = len(new.slots)
        workers = f"{count} worker{'s' if count != 1 else ''}"
        self._log.info(f"reloaded: generation {new.number} serves, {workers}")
        for line in lines:
            self._log.info(f"reload: {line}")
        notify("READY=1")
        self._answer(True, [f"generation {new.number} serves, {workers}", *lines])

    def _refuse(self, faults: Iterable[str]) -> None:
        lines = [printable(line) for line in faults]
        for line in lines[:_MOST_LINES]:
            self._log.alert(f"reload: {line}")
        if len(lines) > _MOST_LINES:
            self._log.alert(f"reload: and {len(lines) - _MOST_LINES} faults more")
        number = self._estate.current.number
        self._log.alert(f"reload refused: generation {number} serves on")
        notify("READY=1")
        self._answer(False, lines)

    def _answer(self, is_good: bool, lines: list[str]) -> None:
        data = "\n".join(lines).encode()
        if len(data) > MOST_DATA_BYTES:
            data = data[: MOST_DATA_BYTES - 4].rpartition(b"\n")[0] + b"\n..."
        for asker in self._askers:
            asker.answered()
            asker.channel.send(Message(Kind.RELOADED, int(is_good), data=data))
        self._askers = []
