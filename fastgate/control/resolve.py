"""Host names to addresses, before anything listens, and never in the way of a stop.

Runs in: master, and in a child of it that lives as long as the resolving takes.

getaddrinfo may block for half a minute a name, and nothing interrupts it. So a
forked child asks, all names side by side, and the master waits for it and for
signals alike: it can be told to stop at any moment, and Python has no thread in it.
Addresses that need no resolving cost no child.
"""

import json
import os
import select
import signal
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from fastgate.config.address import Address, parse_address
from fastgate.control.libc import fork
from fastgate.control.signals import STOPS, SignalQueue, held_signals

if TYPE_CHECKING:
    from fastgate.config.model import Config

_READ_BYTES = 65536
# Names asked for at a time: a resolver is somebody else's machine.
_AT_A_TIME = 16


def hosts_of(config: "Config") -> list[Address]:
    """Give the addresses of all listeners and endpoints."""
    places = [
        parse_address(text, listening=True)
        for listener in config.listeners.values()
        for text in listener.addresses
    ]
    targets = [
        parse_address(endpoint.address, listening=False)
        for upstream in config.upstreams.values()
        for endpoint in upstream.endpoints
    ]
    return [*places, *targets]


class StoppedError(Exception):
    """The gateway was told to stop before it served."""


class Resolved(NamedTuple):
    """What a name stands for: (family, literal) pairs in the resolver's order.

    A zone is written by the index of its interface: fe80::1%2.

    why  it stands for nothing; empty when it stands for something
    """

    places: tuple[tuple[int, str], ...]
    why: str = ""


class Names(dict[str, Resolved]):
    """Host -> what it stands for; one that was not asked for in time is, at once."""

    def __missing__(self, host: str) -> Resolved:
        answer = self[host] = ask(host)
        return answer


class AskedNames(Names):
    """What a child was told in time; nothing is asked for any more."""

    def __missing__(self, host: str) -> Resolved:
        if Address(host, 0).is_literal:
            return super().__missing__(host)
        return Resolved((), "it was not asked for in time")


def ask(host: str) -> Resolved:
    """Resolve one host, here and now."""
    try:
        entries = socket.getaddrinfo(
            host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError:
        return Resolved((), "it is no name that DNS could hold")
    except OSError as error:
        return Resolved((), error.strerror or str(error))
    places = [(int(family), _literal(place)) for family, _, _, _, place in entries]
    return Resolved(tuple(dict.fromkeys(places)))


def _literal(place: tuple[Any, ...]) -> str:
    host, _, _ = str(place[0]).partition("%")
    return f"{host}%{place[3]}" if len(place) == 4 and place[3] else host


def resolve(addresses: Iterable[Address], signals: SignalQueue) -> Names:
    """Give host -> Resolved for every address that has a host.

    Raises StoppedError on TERM, QUIT or INT, however long the resolver takes;
    OSError when there is no room for a child.
    """
    hosts = list(dict.fromkeys(a.host for a in addresses if not a.is_unix))
    literals = {host for host in hosts if Address(host, 0).is_literal}
    found = Names({host: ask(host) for host in literals})
    names = [host for host in hosts if host not in literals]
    if names:
        found.update(_ask_in_child(names, signals))
    return found


def _ask_in_child(names: list[str], signals: SignalQueue) -> dict[str, Resolved]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with held_signals():
        pid = fork()
        if pid == 0:
            signals.leave_in_child()
    if pid == 0:
        _be_resolver(names, writer)
    os.close(writer)
    try:
        answer = _hear(reader, signals)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    try:
        found = from_plain(json.loads(answer))
    except (ValueError, TypeError, AttributeError):
        found = {}
    lost = Resolved((), "the process that asked for it was ended")
    return {name: found.get(name, lost) for name in names}


def from_plain(answers: Any) -> dict[str, Resolved]:
    """Read what a child wrote. Raises ValueError, TypeError, AttributeError."""
    return {
        host: Resolved(tuple((int(f), str(p)) for f, p in places), str(why))
        for host, (places, why) in answers.items()
    }


def ask_within(hosts: Sequence[str], within_s: float) -> dict[str, Resolved]:
    """Ask for hosts side by side, in a process that ends by os._exit.

    Threads of names that have no answer yet stay behind.
    """
    pool = ThreadPoolExecutor(_AT_A_TIME)
    asked = {pool.submit(ask, host): host for host in hosts}
    done, late = wait(asked, within_s)
    unheard = Resolved((), f"no answer within {within_s:g} s")
    found = {asked[one]: one.result() for one in done}
    return found | {asked[one]: unheard for one in late}


def _be_resolver(names: list[str], writer: int) -> NoReturn:
    """Be the child: ask, write all answers, and leave."""
    try:
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            answers = dict(zip(names, pool.map(ask, names), strict=True))
        with open(writer, "w", encoding="utf-8") as pipe:
            json.dump(answers, pipe)
    finally:
        os._exit(0)


def _hear(reader: int, signals: SignalQueue) -> bytes:
    """Read to the end what the child writes, obeying whoever says stop."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reader, signals.fileno()], [], [])
        if signals.fileno() in ready and STOPS.intersection(signals.take()):
            raise StoppedError
        if reader in ready:
            part = os.read(reader, _READ_BYTES)
            if not part:
                return b"".join(parts)
            parts.append(part)
