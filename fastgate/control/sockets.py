"""Listening sockets: bound by the master before it forks, and kept by it.

Runs in: master.

A TCP address has one SO_REUSEPORT socket per worker slot. The master keeps them
all, so that a dead worker leaves its accept queue to its successor and no
connection is reset. A Unix socket, or any with `reuseport = off`, is one socket
that all slots share.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fastgate.config.address import Address, parse_address
from fastgate.control.logs import reason
from fastgate.control.resolve import Names
from fastgate.errors import StartError

if TYPE_CHECKING:
    from fastgate.config.model import Gateway, Listener

# Once the idle time is over: three probes, ten seconds apart, then it is dead.
_PROBE_EVERY_S = 10
_PROBES = 3
# Clients come from any user, as with nginx; the directory says who may reach it.
_LISTENER_MODE = 0o666
_ADMIN_MODE = 0o600
_ADMIN_BACKLOG = 64

# What to do about it, where the system's own words do not tell.
_HINTS = {
    errno.EADDRINUSE: "; `ss -ltnp` shows by whom",
    errno.EADDRNOTAVAIL: "; `ip address` shows those of this machine",
    errno.EACCES: "; ports below 1024 take root (with `user`) or CAP_NET_BIND_SERVICE",
}
_UNIX_HINTS = {errno.EADDRINUSE: "; somebody answers there, another gateway?"}


class _Place(NamedTuple):
    """One address that a name stands for."""

    family: int
    host: str
    port: int


@dataclass
class BoundListener:
    """One bound address of a listener and its sockets, one per worker slot.

    port     0 for a Unix socket
    sockets  [slot]; one object in every slot when `is_shared`
    """

    name: str
    address: str
    port: int
    scheme: str
    sockets: list[socket.socket]
    is_shared: bool
    _file: "SocketFile | None" = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def describe(self) -> dict[str, object]:
        """Give what the data plane needs to know of it."""
        return {
            "name": self.name,
            "address": self.address,
            "port": self.port,
            "scheme": self.scheme,
            "is_shared": self.is_shared,
        }

    def keep_only(self, slot: int) -> None:
        """Close the sockets of all other slots: in a worker, after its fork."""
        for sock in self.sockets:
            if sock is not self.sockets[slot]:
                sock.close()

    def close(self) -> None:
        """Stop listening, in this process: its sockets, not its file."""
        for sock in self.sockets:
            sock.close()

    def unlink(self) -> None:
        if self._file is not None:
            self._file.unlink()


@dataclass
class SocketFile:
    """The file of a Unix socket that this process bound."""

    path: str
    _made: os.stat_result = field(init=False)
    _is_gone: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._made = os.lstat(self.path)

    def unlink(self) -> None:
        """Remove it if it is still the one that was bound; once.

        To be called before the socket is closed: while somebody answers there no
        successor takes the path. The number of a file may be given to another
        once it is gone, so its age must be the same too.
        """
        if self._is_gone:
            return
        self._is_gone = True
        with contextlib.suppress(OSError):
            now = os.lstat(self.path)
            if (
                os.path.samestat(now, self._made)
                and now.st_mtime_ns == self._made.st_mtime_ns
            ):
                os.unlink(self.path)


def bind_listeners(
    gateway: "Gateway", listeners: "dict[str, Listener]", names: Names
) -> list[BoundListener]:
    """Bind every address of every listener, one socket per worker slot.

    names  what the hosts among the addresses stand for
    Raises StartError naming the address; nothing stays bound then.
    """
    bound: list[BoundListener] = []
    try:
        for name, listener in listeners.items():
            for text in listener.addresses:
                address = parse_address(text, listening=True)
                places = _places(address, names)
                bound += _bind(name, listener.protocol, address, places, gateway)
    except BaseException:
        for earlier in bound:
            earlier.unlink()
            earlier.close()
        raise
    return bound


def bind_admin(path: str) -> tuple[socket.socket, SocketFile]:
    """Bind the admin socket: only its owner may connect. Raises StartError."""
    try:
        return _bind_unix(path, _ADMIN_MODE, _ADMIN_BACKLOG)
    except OSError as error:
        hint = _UNIX_HINTS.get(error.errno or 0, "")
        raise StartError(
            f"cannot open admin socket {path}: {reason(error)}{hint}"
        ) from None


def _bind(
    name: str,
    scheme: str,
    address: Address,
    places: Sequence[_Place],
    gateway: "Gateway",
) -> list[BoundListener]:
    try:
        if address.path is not None:
            sock, file = _bind_unix(address.path, _LISTENER_MODE, gateway.backlog)
            shared = [sock] * gateway.workers
            return [BoundListener(name, str(address), 0, scheme, shared, True, file)]
        return [_bind_tcp(name, scheme, place, gateway) for place in places]
    except OSError as error:
        hints = _UNIX_HINTS if address.is_unix else _HINTS
        hint = hints.get(error.errno or 0, "")
        why = reason(error) + hint
        raise StartError(f"cannot listen on {address}: {why}") from None


def _places(address: Address, names: Names) -> Sequence[_Place]:
    """Give every address of a host, as a listener takes them. Raises StartError."""
    if address.is_unix:
        return ()
    found = names[address.host]
    if not found.places:
        raise StartError(
            f"cannot listen on {address}: {address.host} cannot be resolved:"
            f" {found.why}"
        )
    places = [_Place(family, host, address.port) for family, host in found.places]
    return [place for place in places if _is_here(place)] or places


def _is_here(place: _Place) -> bool:
    """Say whether a name's address exists here: `localhost` may lack its IPv6."""
    try:
        with socket.socket(place.family, socket.SOCK_STREAM) as probe:
            probe.bind((place.host, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def _bind_tcp(
    name: str, scheme: str, place: _Place, gateway: "Gateway"
) -> BoundListener:
    # Bound without SO_REUSEPORT first: with it, two gateways would silently share
    # the port, each serving half of the connections.
    with _tcp_socket(place.family, gateway, reuseport=False) as probe:
        probe.bind((place.host, place.port))
        port = probe.getsockname()[1]
    sockets: list[socket.socket] = []
    try:
        for _ in range(gateway.workers if gateway.reuseport else 1):
            sock = _tcp_socket(place.family, gateway, reuseport=gateway.reuseport)
            sockets.append(sock)
            sock.bind((place.host, port))
            sock.listen(gateway.backlog)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    address = str(Address(place.host, port))
    if gateway.reuseport:
        return BoundListener(name, address, port, scheme, sockets, False)
    return BoundListener(name, address, port, scheme, sockets * gateway.workers, True)


def _tcp_socket(family: int, gateway: "Gateway", *, reuseport: bool) -> socket.socket:
    """Make a socket whose options the accepted ones inherit (Linux does)."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuseport:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        # So that [::]:80 and 0.0.0.0:80 can both be listened on.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if gateway.tcp_nodelay:
        sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
    if gateway.tcp_keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle_s = min(max(1, gateway.tcp_keepalive // 1000), 32767)  # MAX_TCP_KEEPIDLE
        sock.setsockopt(tcp, socket.TCP_KEEPIDLE, idle_s)
        sock.setsockopt(tcp, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
        sock.setsockopt(tcp, socket.TCP_KEEPCNT, _PROBES)
    if gateway.tcp_user_timeout:
        # The kernel counts a window that stays closed too (tcp(7)): it must not give
        # up a client that send_timeout still allows to be slow.
        wait_ms = max(gateway.tcp_user_timeout, gateway.send_timeout)
        sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, wait_ms)
    if gateway.tcp_notsent_lowat:
        sock.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, gateway.tcp_notsent_lowat)
    return sock


def _bind_unix(path: str, mode: int, backlog: int) -> tuple[socket.socket, SocketFile]:
    """Bind a Unix socket, over a stale file too. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        _remove_stale(path)
        # The file must never exist with wider rights than it ends with.
        old = os.umask(0o777 & ~mode)
        try:
            sock.bind(path)
        finally:
            os.umask(old)
        file = SocketFile(path)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock, file


def _remove_stale(path: str) -> None:
    """Remove a socket file on which nobody answers. Raises OSError."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, "the file exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
