"""The logs opened afresh on USR1, by a child: the disk may be stalled.

Runs in: master.
"""

import os
import selectors
from collections.abc import Callable, Iterator

from fastgate.control.boot import Estate
from fastgate.control.channel import (
    BadMessageError,
    Channel,
    ChannelClosedError,
    Kind,
    Logs,
    Message,
)
from fastgate.control.children import fork_opener
from fastgate.control.signals import SignalQueue
from fastgate.control.slot import Child, Slot


class Reopening:
    """Has the logs opened afresh, once at a time, and hands them to the children."""

    def __init__(
        self,
        estate: Estate,
        signals: SignalQueue,
        selector: selectors.BaseSelector,
        leave_in_child: Callable[[], None],
        children: Callable[[], Iterator[tuple[Slot, Child]]],
    ) -> None:
        """Take what belongs to the master; see control/reload.py."""
        self._estate = estate
        self._log = estate.log
        self._signals = signals
        self._selector = selector
        self._leave_in_child = leave_in_child
        self._children = children
        # Of the child that opens them, for which generation, and if it was asked again.
        self._opener: Channel | None = None
        self._of = estate.current
        self._again = False

    def ask(self) -> None:
        """Begin, or do it once more when it is done."""
        if self._opener is not None:
            self._again = True
            return
        try:
            self._opener = fork_opener(
                self._estate, self._signals, self._leave_in_child
            )
        except OSError as error:
            self._log.alert(f"cannot fork to reopen the logs: {error.strerror}")
            return
        self._of = self._estate.current
        self._selector.register(self._opener, selectors.EVENT_READ, self)

    def hear(self) -> None:
        """Take what the child could open, and give it to the others."""
        opener = self._opener
        if opener is None:
            return
        logs, fds = Logs.NONE, []
        try:
            if received := opener.receive_with_logs():
                logs, fds = received[0].logs, received[1]
        except (ChannelClosedError, BadMessageError):
            self._log.alert("logs not reopened: the child that opens them ended early")
        self._selector.unregister(opener)
        self.close()
        if logs and self._of is not self._estate.current:
            # A reload came in between, perhaps with logs of its own.
            for fd in fds:
                os.close(fd)
            self._again = True
        elif logs:
            self._estate.take_logs(logs, fds)
            self._log.info("logs reopened")
            self._hand_on(logs)
        if self._again:
            self._again = False
            self.ask()

    def close(self) -> None:
        """Let go of the child that opens them; in another child, of our copy."""
        if self._opener is not None:
            self._opener.close()
            self._opener = None

    def _hand_on(self, logs: Logs) -> None:
        """Give the children the reopened logs, as far as they are theirs too."""
        for slot, child in self._children():
            generation = self._estate.generation_of(slot)
            its = logs & self._estate.shared_logs(generation)
            if slot.is_steward:
                its &= ~Logs.ACCESS
            sent = tuple(generation.log_fd(log) for log in its)
            if sent and not child.channel.send(Message(Kind.LOGS, logs=its), sent):
                self._log.warning(f"{slot.name} did not take the reopened logs")
