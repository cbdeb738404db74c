"""Listening sockets: bound by the master before it forks, and kept by it.

Runs in: master.

A TCP address has one SO_REUSEPORT socket per worker slot. The master keeps them
all, so that a dead worker leaves its accept queue to its successor and no
connection is reset. A Unix socket, or any with `reuseport = off`, is one socket
that all slots share.

A reload keeps what both configurations listen on: its sockets, with whoever waits in
their queues, go on in the new generation. Those that only the new one has are bound
by the master and listened on by the first worker that is about to serve: until then no
client can have come to them, so a generation that fails takes nobody along.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
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


class Place(NamedTuple):
    """One address to bind; what two configurations have in common has the same.

    host  a literal; the path of a Unix socket
    port  as configured: 0 lets the kernel choose
    """

    family: int
    host: str
    port: int


@dataclass
class BoundListener:
    """One bound address of a listener and its sockets, one per worker slot.

    place    what was asked for
    port     what was got; 0 for a Unix socket
    sockets  [slot]; one object in every slot when `is_shared`
    file     of a Unix socket
    """

    place: Place
    name: str
    address: str
    port: int
    scheme: str
    sockets: list[socket.socket]
    is_shared: bool
    file: "SocketFile | None" = None

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
    gateway: "Gateway",
    listeners: "dict[str, Listener]",
    names: Names,
    before: Sequence[BoundListener] | None = None,
) -> list[BoundListener]:
    """Bind every address of every listener, one socket per worker slot.

    names   what the hosts among the addresses stand for
    before  what is listened on now: sockets of the same places are taken from there,
            others are bound and not yet listened on (`start_listening`)
    Raises StartError naming the address; nothing more than before is bound then.
    """
    binder = _Binder(gateway, before)
    bound: list[BoundListener] = []
    try:
        for name, listener in listeners.items():
            for text in listener.addresses:
                address = parse_address(text, listening=True)
                for place in _places(address, names):
                    bound.append(binder.bind(name, listener.protocol, place, address))
    except BaseException:
        release(bound, before or ())
        raise
    return bound


def release(
    listeners: Sequence[BoundListener], keepers: Sequence[BoundListener] = ()
) -> None:
    """Stop listening, in the master, on all that `keepers` do not have too.

    Files go first: while somebody answers there no successor takes the path.
    """
    kept_files = [keeper.file for keeper in keepers if keeper.file is not None]
    for listener in listeners:
        if listener.file is not None and listener.file not in kept_files:
            listener.file.unlink()
    close_sockets(listeners, held(keepers))


def close_sockets(
    listeners: Iterable[BoundListener], but: Collection[socket.socket] = ()
) -> None:
    """Close in this process, all but some; files stay."""
    for listener in listeners:
        for sock in listener.sockets:
            if sock not in but:
                sock.close()


def held(listeners: Iterable[BoundListener]) -> set[socket.socket]:
    """Give all the sockets of some listeners."""
    return {sock for listener in listeners for sock in listener.sockets}


def start_listening(sockets: Iterable[socket.socket], backlog: int) -> None:
    """Listen on those that nobody listens on yet: in a worker about to serve."""
    for sock in sockets:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog)


def renew(listeners: Sequence[BoundListener], gateway: "Gateway") -> None:
    """Give sockets that were kept the options of a new configuration."""
    for listener in listeners:
        for sock in set(listener.sockets):
            if listener.file is None:
                _set_options(sock, gateway)
            sock.listen(gateway.backlog)


def bind_admin(path: str) -> tuple[socket.socket, SocketFile]:
    """Bind the admin socket: only its owner may connect. Raises StartError."""
    try:
        return _bind_unix(path, _ADMIN_MODE, _ADMIN_BACKLOG)
    except OSError as error:
        hint = _UNIX_HINTS.get(error.errno or 0, "")
        raise StartError(
            f"cannot open admin socket {path}: {reason(error)}{hint}"
        ) from None


class _Binder:
    """Binds for one configuration, or takes over what was bound before."""

    def __init__(
        self, gateway: "Gateway", before: Sequence[BoundListener] | None
    ) -> None:
        self._gateway = gateway
        self._before = list(before or ())
        self._listens = before is None

    def bind(
        self, name: str, scheme: str, place: Place, address: Address
    ) -> BoundListener:
        """Give the sockets of one place of an address. Raises StartError."""
        try:
            if earlier := self._take(name, place):
                return self._go_on(name, scheme, earlier)
            if place.family == socket.AF_UNIX:
                return self._bind_unix(name, scheme, place)
            return self._bind_tcp(name, scheme, place)
        except OSError as error:
            hints = _UNIX_HINTS if address.is_unix else _HINTS
            why = reason(error) + hints.get(error.errno or 0, "")
            raise StartError(f"cannot listen on {address}: {why}") from None

    def _take(self, name: str, place: Place) -> BoundListener | None:
        """Take an earlier one of that place; of several (port 0) the namesake."""
        found = [one for one in self._before if one.place == place]
        found.sort(key=lambda one: one.name != name)
        if not found:
            return None
        # By identity: two of the kernel's own ports are not the same.
        self._before = [one for one in self._before if one is not found[0]]
        return found[0]

    def _go_on(self, name: str, scheme: str, earlier: BoundListener) -> BoundListener:
        workers = self._gateway.workers
        if earlier.is_shared:
            sockets = earlier.sockets[:1] * workers
        else:
            sockets = earlier.sockets[:workers]
            sockets += self._reuseport(earlier.place, earlier.port, workers, sockets)
        return replace(earlier, name=name, scheme=scheme, sockets=sockets)

    def _bind_unix(self, name: str, scheme: str, place: Place) -> BoundListener:
        backlog = self._gateway.backlog if self._listens else None
        sock, file = _bind_unix(place.host, _LISTENER_MODE, backlog)
        shared = [sock] * self._gateway.workers
        address = f"unix:{place.host}"
        return BoundListener(place, name, address, 0, scheme, shared, True, file)

    def _bind_tcp(self, name: str, scheme: str, place: Place) -> BoundListener:
        gateway = self._gateway
        # Bound without SO_REUSEPORT first: with it, two gateways would silently
        # share the port, each serving half of the connections.
        with _tcp_socket(place.family, gateway, reuseport=False) as probe:
            probe.bind((place.host, place.port))
            port = probe.getsockname()[1]
        is_shared = not gateway.reuseport
        sockets = self._reuseport(place, port, 1 if is_shared else gateway.workers)
        if is_shared:
            sockets *= gateway.workers
        address = str(Address(place.host, port))
        return BoundListener(place, name, address, port, scheme, sockets, is_shared)

    def _reuseport(
        self, place: Place, port: int, wanted: int, have: Sequence[socket.socket] = ()
    ) -> list[socket.socket]:
        """Bind as many as are missing; on an error none of them stays bound."""
        sockets: list[socket.socket] = []
        try:
            for _ in range(len(have), wanted):
                sock = _tcp_socket(
                    place.family, self._gateway, reuseport=self._gateway.reuseport
                )
                sockets.append(sock)
                sock.bind((place.host, port))
                if self._listens:
                    sock.listen(self._gateway.backlog)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets


def _places(address: Address, names: Names) -> Sequence[Place]:
    """Give every address of a host, as a listener takes them. Raises StartError."""
    if address.path is not None:
        return [Place(int(socket.AF_UNIX), address.path, 0)]
    found = names[address.host]
    if not found.places:
        raise StartError(
            f"cannot listen on {address}: {address.host} cannot be resolved:"
            f" {found.why}"
        )
    places = [Place(family, host, address.port) for family, host in found.places]
    return [place for place in places if _is_here(place)] or places


def _is_here(place: Place) -> bool:
    """Say whether a name's address exists here: `localhost` may lack its IPv6."""
    try:
        with socket.socket(place.family, socket.SOCK_STREAM) as probe:
            probe.bind((place.host, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def _tcp_socket(family: int, gateway: "Gateway", *, reuseport: bool) -> socket.socket:
    """Make a socket whose options the accepted ones inherit (Linux does)."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuseport:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        # So that [::]:80 and 0.0.0.0:80 can both be listened on.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    _set_options(sock, gateway)
    return sock


def _set_options(sock: socket.socket, gateway: "Gateway") -> None:
    """Set each anew, also to off: the socket may be an earlier configuration's."""
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, socket.TCP_NODELAY, gateway.tcp_nodelay)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, bool(gateway.tcp_keepalive))
    if gateway.tcp_keepalive:
        idle_s = min(max(1, gateway.tcp_keepalive // 1000), 32767)  # MAX_TCP_KEEPIDLE
        sock.setsockopt(tcp, socket.TCP_KEEPIDLE, idle_s)
        sock.setsockopt(tcp, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
        sock.setsockopt(tcp, socket.TCP_KEEPCNT, _PROBES)
    # The kernel counts a window that stays closed too (tcp(7)): it must not give up a
    # client that send_timeout still allows to be slow. 0: as the kernel has it.
    wait_ms = gateway.tcp_user_timeout and max(
        gateway.tcp_user_timeout, gateway.send_timeout
    )
    sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, wait_ms)
    sock.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, gateway.tcp_notsent_lowat)


def _bind_unix(
    path: str, mode: int, backlog: int | None
) -> tuple[socket.socket, SocketFile]:
    """Bind a Unix socket, over a stale file too; None: listen on it later.

    Raises OSError.
    """
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
        if backlog is not None:
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
