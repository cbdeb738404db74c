"""The files of error pages, read once.

Runs in: master (before the fork), the command line (`check`).
"""

import os
import stat

from fastgate.config.bounds import PAGE_BYTES
from fastgate.config.pages import by_status, content_type
from fastgate.control.logs import reason
from fastgate.errors import StartError


class Pages:
    """The error pages of a configuration, each file read once.

    read    (Content-Type, bytes) of each, in the order of their indexes
    common  the gateway's own: status -> index
    """

    def __init__(self, files: dict[str, str]) -> None:
        """Read the gateway's. Raises StartError."""
        self.read: list[tuple[str, bytes]] = []
        self._indexes: dict[str, int] = {}
        self._files = files
        self.common = self._by_status(files)

    def of(self, files: dict[str, str]) -> dict[int, int]:
        """Give status -> index for a route, whose files go first. Raises StartError."""
        return self._by_status(self._files, files) if files else self.common

    def _by_status(self, *tables: dict[str, str]) -> dict[int, int]:
        return {
            status: self._index(path) for status, path in by_status(*tables).items()
        }

    def _index(self, path: str) -> int:
        if path not in self._indexes:
            self.read.append((content_type(path), read_page(path)))
            self._indexes[path] = len(self.read) - 1
        return self._indexes[path]


def read_page(path: str) -> bytes:
    """Read a page. Raises StartError saying why it cannot be one."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StartError(f"'{path}' cannot be read: it is no file")
            page = file.read(PAGE_BYTES + 1)
    except OSError as error:
        raise StartError(f"'{path}' cannot be read: {reason(error)}") from None
    if len(page) > PAGE_BYTES:
        raise StartError(f"'{path}' is larger than {PAGE_BYTES} bytes")
    return page


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a FIFO, who may never come."""
    return os.open(path, flags | os.O_NONBLOCK)
