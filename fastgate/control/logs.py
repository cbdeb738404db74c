"""The two logs: opened by the master, reopened on USR1, handed to children.

Runs in: every process.

A log that cannot take a line (disk full or stalled, pipe unread) loses it and counts
it: no process ever waits for its log. A thread of each process writes
(dataplane/telemetry/logwriter.pyx); decision 0007 says why that is sound in one that
forks.
"""

import os
import stat
import time
from typing import Protocol

from fastgate._core import LineWriter
from fastgate.errors import StartError

LEVELS = ("debug", "info", "warning", "error")
_STREAMS = {"stdout": 1, "stderr": 2}
# What a pipe takes in one piece, whoever else writes into it.
_LONGEST_LINE_BYTES = 4096
_QUEUE_BYTES = 256 * 1024
# For the last lines, when a process leaves: the master waits one second for it.
_LAST_LINES_MS = 300


class Log(Protocol):
    """What the rest of the control plane needs of an error log."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def alert(self, message: str) -> None: ...


def open_log(target: str) -> int:
    """Open `stdout`, `stderr` or a path for appending.

    returns  a descriptor of its own, closed on exec
    Raises OSError.
    """
    if target in _STREAMS:
        return os.dup(_STREAMS[target])
    # A FIFO may have no reader yet, or another later: opened for both ends (fifo(7))
    # it waits for none, and lines wait in it. O_NONBLOCK where it is made meanwhile.
    access = os.O_RDWR if _is_fifo(target) else os.O_WRONLY
    flags = access | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(target, flags, 0o640)


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def open_access_log(target: str) -> int:
    """Open the access log; -1 when it is `off`. Raises StartError."""
    if target == "off":
        return -1
    try:
        return open_log(target)
    except OSError as error:
        raise StartError(f"cannot open access log {target}: {reason(error)}") from None


def open_error_log(target: str) -> int:
    """Open the error log. Raises StartError."""
    try:
        return open_log(target)
    except OSError as error:
        raise StartError(f"cannot open error log {target}: {reason(error)}") from None


def reason(error: OSError) -> str:
    """Say why in the words of the system, in lower case."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


class ErrorLog:
    """The gateway's own messages, one line each, one write per line.

    On a stream a line is `fastgate: message`: whoever collects the stream
    stamps it. In a file it is `YYYY/MM/DD HH:MM:SS [level] pid: fastgate: ...`.
    Its descriptor keeps its number when the log is reopened.
    Raises StartError when the log cannot be opened.
    """

    def __init__(self, target: str = "stderr", level: str = "info") -> None:
        self._aim(target, level)
        self.fd = open_error_log(target)
        self._begin()

    def after_fork(self, fd: int, target: str, level: str) -> None:
        """Begin anew in a child, on `fd`, taken over: the thread has stayed behind.

        What the parent writes to is closed here: it may be a file of yesterday, which
        a stalled disk has not let go yet.
        """
        self._aim(target, level)
        self.fd = fd
        self._begin()

    def change(self, target: str, level: str, fd: int) -> None:
        """Write to another log from now on: `fd`, taken over. -1: it is the same."""
        self._aim(target, level)
        if fd >= 0:
            self.replace(fd)

    def _aim(self, target: str, level: str) -> None:
        self.target = target
        self._least = LEVELS.index(level)

    def _begin(self) -> None:
        self._writer = LineWriter(self.fd, _QUEUE_BYTES)
        self._told = 0

    @property
    def dropped(self) -> int:
        return self._writer.state()[0]

    def debug(self, message: str) -> None:
        self._write(0, message)

    def info(self, message: str) -> None:
        self._write(1, message)

    def warning(self, message: str) -> None:
        self._write(2, message)

    def alert(self, message: str) -> None:
        self._write(3, message)

    def check(self) -> None:
        """Say how many lines were lost, once the log takes lines again."""
        dropped, os_error, is_settled = self._writer.state()
        lost = dropped - self._told
        if lost and is_settled and not os_error:
            self._told = dropped
            self._put(2, f"{lost} lines of this log were lost before this one")

    def replace(self, fd: int) -> None:
        """Write to `fd` from now on, behind what is under way; takes it over."""
        self._writer.reopen(fd)

    def wait(self, within_ms: int) -> bool:
        """Wait until all lines are written or lost; False: some are neither yet."""
        return self._writer.wait(within_ms)

    def close(self) -> None:
        """Write the last lines, if they are taken soon, and close."""
        self.check()
        self._writer.close(_LAST_LINES_MS)

    def _write(self, level: int, message: str) -> None:
        if level >= self._least:
            self.check()
            self._put(level, message)

    def _put(self, level: int, message: str) -> None:
        # One line per message, whatever a name or a path held.
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        if self.target in _STREAMS:
            mark = f"{LEVELS[level]}: " if level != 1 else ""
            line = f"fastgate: {mark}{text}"
        else:
            now = time.strftime("%Y/%m/%d %H:%M:%S")
            line = f"{now} [{LEVELS[level]}] {os.getpid()}: fastgate: {text}"
        data = line.encode(errors="replace")[: _LONGEST_LINE_BYTES - 1]
        self._writer.put(data + b"\n")


class Drops:
    """Says in the error log when lines of another log begin to be lost, and its end."""

    def __init__(self, name: str, log: Log) -> None:
        self._name = name
        self._log = log
        self._seen = 0
        self._before = 0
        self._since_s: float | None = None

    def look(self, dropped: int, os_error: int, is_settled: bool) -> None:
        """Take what the writer of that log says of itself, a few times a second."""
        if dropped > self._seen and self._since_s is None:
            self._before = self._seen
            self._since_s = time.monotonic()
            why = os.strerror(os_error).lower()
            if not os_error:
                why = "it does not take them: a stalled disk, or nobody reads"
            self._log.warning(f"{self._name}: lines are lost, {why}")
        elif (
            self._since_s is not None
            and dropped == self._seen
            and is_settled
            and not os_error
        ):
            for_s = time.monotonic() - self._since_s
            self._since_s = None
            lost = dropped - self._before
            self._log.warning(
                f"{self._name}: {lost} lines were lost in {for_s:.1f} s;"
                " it takes lines again"
            )
        self._seen = dropped

    def close(self, dropped: int) -> None:
        """Take how many that log lost in all, now that it is closed."""
        lost = dropped - (self._seen if self._since_s is None else self._before)
        if lost:
            lines = "line was" if lost == 1 else "lines were"
            self._log.warning(f"{self._name}: {lost} {lines} lost until it was closed")
