"""The two logs: opened by the master, reopened on USR1, handed to children.

Runs in: every process.

A log that cannot take a line (disk full, pipe unread) loses it and counts it:
no process ever waits for its log (THREATS 82).
"""

import os
import select
import time
from typing import Protocol

from fastgate.errors import StartError

LEVELS = ("debug", "info", "warning", "error")
_STREAMS = {"stdout": 1, "stderr": 2}
# A pipe that polls as writable takes this much at once without blocking.
_LONGEST_LINE_BYTES = 4096


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
    # O_NONBLOCK: opening a FIFO that nobody reads fails instead of waiting.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(target, flags, 0o640)


def open_access_log(target: str) -> int:
    """Open the access log; -1 when it is `off`. Raises StartError."""
    if target == "off":
        return -1
    try:
        return open_log(target)
    except OSError as error:
        raise StartError(f"cannot open access log {target}: {reason(error)}") from None


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
        self.target = target
        self.dropped = 0
        self._least = LEVELS.index(level)
        try:
            self.fd = open_log(target)
        except OSError as error:
            raise StartError(
                f"cannot open error log {target}: {reason(error)}"
            ) from None

    def debug(self, message: str) -> None:
        self._write(0, message)

    def info(self, message: str) -> None:
        self._write(1, message)

    def warning(self, message: str) -> None:
        self._write(2, message)

    def alert(self, message: str) -> None:
        self._write(3, message)

    def replace(self, fd: int) -> None:
        """Write to `fd` from now on; takes it over."""
        os.dup2(fd, self.fd, inheritable=False)
        os.close(fd)

    def close(self) -> None:
        os.close(self.fd)

    def _write(self, level: int, message: str) -> None:
        if level < self._least:
            return
        # One line per message, whatever a name or a path held.
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        if self.target in _STREAMS:
            mark = f"{LEVELS[level]}: " if level != 1 else ""
            line = f"fastgate: {mark}{text}"
        else:
            now = time.strftime("%Y/%m/%d %H:%M:%S")
            line = f"{now} [{LEVELS[level]}] {os.getpid()}: fastgate: {text}"
        data = line.encode(errors="replace")[: _LONGEST_LINE_BYTES - 1] + b"\n"
        ready = select.poll()
        ready.register(self.fd, select.POLLOUT)
        try:
            # POLLERR alone (the pipe's reader is gone) must not count as room.
            if [event for _, event in ready.poll(0)] == [select.POLLOUT]:
                os.write(self.fd, data)
                return
        except OSError:
            pass
        self.dropped += 1
