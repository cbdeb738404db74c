"""Signals of the master: handlers only queue, the main loop reads the queue.

Runs in: master (SignalQueue), every process (ignore_in_child).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MASTER_SIGNALS = (
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)
# Those that end the gateway.
STOPS = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGINT})


def _queue_only(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing: the number was already written to the wake-up pipe."""


class SignalQueue:
    """The signals that arrived, in order; readable as `fileno` when there are some.

    While it is open it owns the dispositions of MASTER_SIGNALS and the wake-up
    descriptor of the interpreter; `close` puts back what was there.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._old = {
            number: signal.signal(number, _queue_only) for number in MASTER_SIGNALS
        }

    def fileno(self) -> int:
        return self._reader

    def take(self) -> list[int]:
        """Give the signals queued since the last call."""
        try:
            return list(os.read(self._reader, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._reader)
        os.close(self._writer)

    def leave_in_child(self) -> None:
        """Forget the queue after a fork: ignore what concerns the master alone.

        A terminal's Ctrl-C and a service manager's TERM reach the whole group;
        children act only on what the master says through their channel.
        """
        signal.set_wakeup_fd(-1)
        for number in MASTER_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold the master's signals back, in both processes of a fork.

    Without it a signal between fork and `leave_in_child` would be written by
    the child into the master's queue, and count as a second one.
    """
    old = signal.pthread_sigmask(signal.SIG_BLOCK, MASTER_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def name_of(number: int) -> str:
    """Give `SIGKILL` for 9; the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
