"""The pid file: who the master is, and proof that it lives.

Runs in: master.

The living master holds a lock (flock) on its file, so a file left by a killed
one is known to be stale even when its number now belongs to another process.
"""

import fcntl
import os

from fastgate.control.logs import reason
from fastgate.errors import StartError


class PidFile:
    """A locked file with this process's pid. Made after the listeners are bound.

    Raises StartError when another master holds it or it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        try:
            self._fd = self._claim()
        except OSError as error:
            raise StartError(f"cannot write pid file {path}: {reason(error)}") from None

    def release(self) -> None:
        """Remove the file if it is still ours, and let the lock go."""
        try:
            if os.path.samestat(os.stat(self.path), os.fstat(self._fd)) and (
                _pid_in(self._fd) == self._pid
            ):
                os.unlink(self.path)
        except FileNotFoundError:
            pass  # somebody else removed it
        finally:
            os.close(self._fd)

    def leave_in_child(self) -> None:
        """Close the copy a fork made, so that the lock ends with the master."""
        os.close(self._fd)

    def _claim(self) -> int:
        """Put a written, locked file at the path; returns its descriptor.

        The file appears complete: it is written under another name, then linked
        (when there was none) or renamed over a stale one whose lock we hold.
        """
        draft = f"{self.path}.{self._pid}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(draft, flags, 0o644)
        except FileExistsError:
            os.unlink(draft)  # a namesake of ours was killed while writing it
            fd = os.open(draft, flags, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, f"{self._pid}\n".encode())
            while not self._place(draft):
                pass
        except BaseException:
            os.close(fd)
            os.unlink(draft)
            raise
        return fd

    def _place(self, draft: str) -> bool:
        """Give the draft its name; False when the file there changed meanwhile."""
        try:
            os.link(draft, self.path)
        except FileExistsError:
            return self._replace_stale(draft)
        os.unlink(draft)
        return True

    def _replace_stale(self, draft: str) -> bool:
        try:
            old = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.stat(self.path), os.fstat(old)):
                return False
            os.rename(draft, self.path)
        except BlockingIOError:
            raise StartError(
                f"pid file {self.path}: another master is running"
                f" (pid {_pid_in(old) or 'unknown'})"
            ) from None
        except FileNotFoundError:
            return False
        finally:
            os.close(old)
        return True


def _pid_in(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None
