"""What would keep a configuration from running on this machine, found by looking.

Runs in: the command line, master (before it binds).

`check` and `run` ask here alike, so that what the one accepts the other starts.
Nothing is bound, made, opened for writing or changed. What only binding can tell
(a port that is taken, a name that cannot be resolved) is not asked.
"""

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastgate.config import machine
from fastgate.config.address import parse_address
from fastgate.config.bounds import UNIX_PATH_BYTES
from fastgate.config.locate import Path
from fastgate.config.model import Finding
from fastgate.control.pages import read_page
from fastgate.control.privileges import (
    find_group,
    find_user,
    listening_sockets,
    obtainable_files,
    too_few_files,
)
from fastgate.errors import MachineError, StartError, file_order

if TYPE_CHECKING:
    from fastgate.config.load import Loaded
    from fastgate.config.model import Config, Gateway

_STREAMS = ("off", "stdout", "stderr")


def check_machine(loaded: "Loaded") -> None:
    """Raise MachineError with everything here that `run` would fail at."""
    problems = [
        loaded.problem(finding.path, finding.message, finding.suggestion)
        for finding in inspect(loaded.config)
    ]
    if problems:
        raise MachineError(sorted(problems, key=file_order), loaded.subject)


def inspect(config: "Config") -> Iterator[Finding]:
    """Find what on this machine would refuse the configuration."""
    gateway = config.gateway
    yield from _identity(gateway)
    yield from _files(config)
    logs: list[tuple[Path, str]] = [
        (("gateway", key), getattr(gateway, key)) for key in ("access_log", "error_log")
    ]
    logs = [(key, target) for key, target in logs if target not in _STREAMS]
    for key, path in logs:
        yield from _writable(key, path)
    sockets: list[tuple[Path, str]] = []
    if gateway.pid_file is not None:
        pid_file: Path = ("gateway", "pid_file")
        yield from _writable(pid_file, gateway.pid_file, replaced=True)
        logs.append((pid_file, gateway.pid_file))
    if gateway.admin_socket is not None:
        sockets.append((("gateway", "admin_socket"), gateway.admin_socket))
    for name, listener in config.listeners.items():
        for index, text in enumerate(listener.addresses):
            address = parse_address(text, listening=True)
            key = ("listeners", name, "addresses", index)
            if address.path is not None:
                sockets.append((key, address.path))
            elif not machine.may_bind(address.port):
                message = f"port {address.port} takes root or CAP_NET_BIND_SERVICE"
                yield Finding(key, message)
    for key, path in sockets:
        yield from _socket(key, path)
    yield from _shared(logs, sockets)
    yield from _pages(("gateway",), gateway.error_pages)
    for number, route in enumerate(config.routes):
        yield from _pages(("routes", number), route.error_pages)


def _pages(table: Path, pages: dict[str, str]) -> Iterator[Finding]:
    for status, path in pages.items():
        try:
            read_page(path)
        except StartError as error:
            yield Finding((*table, "error_pages", status), str(error))


def _identity(gateway: "Gateway") -> Iterator[Finding]:
    for key, find in (("user", find_user), ("group", find_group)):
        name = getattr(gateway, key)
        if name is None:
            continue
        try:
            find(name)
        except StartError as error:
            yield Finding(("gateway", key), str(error))


def _files(config: "Config") -> Iterator[Finding]:
    gateway = config.gateway
    files = obtainable_files(gateway.nofile)
    why = too_few_files(files, gateway.workers, listening_sockets(config))
    if why is not None:
        yield Finding(("gateway", "nofile"), why)


def _shared(
    files: list[tuple[Path, str]], sockets: list[tuple[Path, str]]
) -> Iterator[Finding]:
    """Find a path with two uses; two logs may be one file, and listeners were seen."""
    owners: dict[str, Path] = {}
    for key, path in [*files, *sockets]:
        owner = owners.setdefault(os.path.realpath(path), key)
        both_listen = owner[0] == key[0] == "listeners"
        both_log = str(owner[-1]).endswith("_log") and str(key[-1]).endswith("_log")
        if owner != key and not both_log and not both_listen:
            named = owner[1] if owner[0] == "gateway" else f"listener '{owner[1]}'"
            yield Finding(key, f"'{path}' is the path of {named} too")


def _writable(key: Path, path: str, *, replaced: bool = False) -> Iterator[Finding]:
    """Look whether a file could be written, or made.

    replaced  another file is put in its place, so that its own rights do not count
    """
    why = None
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        why = _unusable_directory(path)
    except OSError as error:
        why = _reason(error.errno)
    else:
        if stat.S_ISDIR(mode):
            why = "it is a directory"
        elif stat.S_ISSOCK(mode):
            why = "it is a socket"
        elif replaced:
            why = _unusable_directory(path)
        elif not os.access(path, os.W_OK, effective_ids=True):
            why = _denied(path)
    if why is not None:
        yield Finding(key, f"'{path}' cannot be written: {why}")


def _socket(key: Path, path: str) -> Iterator[Finding]:
    """Look whether a Unix socket could be made; a stale one would be replaced."""
    why = _unusable_directory(path)
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        why = f"a socket's path has {UNIX_PATH_BYTES} bytes at most"
    try:
        if why is None and not stat.S_ISSOCK(os.lstat(path).st_mode):
            why = "the file exists and is no socket"
    except FileNotFoundError:
        pass
    except OSError as error:
        why = _reason(error.errno)
    if why is not None:
        yield Finding(key, f"'{path}' cannot be listened on: {why}")


def _unusable_directory(path: str) -> str | None:
    """Say why no file can be made at `path`, or None."""
    directory = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(directory):
        return f"there is no directory '{directory}'"
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return f"{_denied(directory)} in '{directory}'"
    return None


def _denied(path: str) -> str:
    is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    return _reason(errno.EROFS if is_read_only else errno.EACCES)


def _reason(number: int | None) -> str:
    text = os.strerror(number or 0)
    return text[:1].lower() + text[1:]
