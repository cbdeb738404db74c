"""Active checks, the asking: one HTTP request or one TCP connection each time.

Runs in: steward.

Plain sockets on the loop, without transports and tasks: with a thousand endpoints this
is what the steward does all day (bench/health.py says what one check costs).

    begin -> connect -> talk -> hear ... -> end(outcome)      or, from outside: expire
       `---- kept ---------^

A connection is kept between two checks where the endpoint allows it, but for ten checks
at most: one that answers there and takes no new connections is found out. If it was
closed meanwhile, and that shows only now, the check begins anew on a fresh one.
"""

import errno
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from fastgate import __version__
from fastgate.config.model.health import ANY_OK, body_matcher, parse_statuses
from fastgate.config.units import format_duration

if TYPE_CHECKING:
    import asyncio

    from fastgate.config.model import Health

MOST_BODY_BYTES = 65536
_MOST_HEAD_BYTES = 32768
_CHECKS_PER_CONNECTION = 10

# What the gateway itself has too little of says nothing about an endpoint.
_OURS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
)
_FAMILIES = {
    "inet": socket.AF_INET,
    "inet6": socket.AF_INET6,
    "unix": socket.AF_UNIX,
}


class Outcome(NamedTuple):
    """How a check ended.

    why      in words; empty: it passed
    is_ours  it could not be made, for reasons of the gateway's own
    """

    why: str = ""
    is_ours: bool = False


class Place(NamedTuple):
    """Where a check connects to: an endpoint's, as in the plan."""

    family: str
    host: str
    port: int
    scope: int

    @property
    def sockaddr(self) -> Any:
        if self.family == "unix":
            return self.host
        if self.family == "inet6":
            return self.host, self.port, 0, self.scope
        return self.host, self.port

    @property
    def authority(self) -> str:
        """What a request calls it; a path is no host (RFC 9110 section 7.2)."""
        if self.family == "unix":
            return "localhost"
        host = f"[{self.host}]" if self.family == "inet6" else self.host
        return f"{host}:{self.port}"


class Probe(ABC):
    """One endpoint's checks, one at a time."""

    def __init__(
        self, loop: "asyncio.AbstractEventLoop", place: Place, rules: "Health"
    ) -> None:
        self._loop = loop
        self._family = _FAMILIES[place.family]
        self._sockaddr = place.sockaddr
        self._within = f"within {format_duration(rules.timeout)}"
        self._socket: socket.socket | None = None
        self._done: Callable[[Outcome], None] | None = None
        self._unsent = b""
        self._received_bytes = 0
        self._is_connected = False
        self._checks_here = 0  # begun on this connection

    def begin(self, done: Callable[[Outcome], None]) -> None:
        """Check once. `done` may be called before this returns."""
        assert self._done is None  # one at a time
        self._done = done
        if self._socket is None:
            self._connect()
        else:
            self._converse()

    def close(self) -> None:
        """End at once, whatever goes on; nobody is told."""
        self._done = None
        self._drop()

    def expire(self) -> None:
        """End what has taken too long: a failure."""
        what = self._late_text() if self._is_connected else "not connected"
        self._end(Outcome(f"{what} {self._within}"))

    # -- what a kind of check says and hears

    @abstractmethod
    def _talk(self) -> None:
        """Begin to speak: connected, and nothing heard yet."""

    @abstractmethod
    def _take(self, data: bytes) -> None:
        """Hear some of the answer."""

    @abstractmethod
    def _take_end(self) -> None:
        """Hear that there will be no more."""

    @abstractmethod
    def _late_text(self) -> str:
        """Say what did not come in time, after the connection did."""

    # -- the connection

    def _connect(self) -> None:
        try:
            self._socket = socket.socket(
                self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
            )
            code = self._socket.connect_ex(self._sockaddr)
        except OSError as error:
            self._end_by(error.errno or 0)
            return
        if code == errno.EINPROGRESS:
            self._loop.add_writer(self._socket.fileno(), self._hear_connected)
        elif code:
            self._end_by(code)
        else:
            self._greet()

    def _hear_connected(self) -> None:
        assert self._socket is not None  # its writer is removed with it
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end_by(code)
        else:
            self._greet()

    def _greet(self) -> None:
        assert self._socket is not None
        self._is_connected = True
        fd = self._socket.fileno()
        self._loop.add_reader(fd, self._hear)
        self._loop.remove_writer(fd)  # that of the connect, if it took a while
        self._converse()

    def _converse(self) -> None:
        self._checks_here += 1
        self._received_bytes = 0
        self._talk()

    def _send(self, data: bytes) -> None:
        self._unsent = data
        self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        fd = self._socket.fileno()
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error.errno or 0)
            return
        was_waiting = len(self._unsent) != sent
        self._unsent = self._unsent[sent:]
        if was_waiting:
            self._loop.add_writer(fd, self._flush_on)

    def _flush_on(self) -> None:
        assert self._socket is not None
        self._loop.remove_writer(self._socket.fileno())
        self._flush()

    def _hear(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(MOST_BODY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.errno or 0)
            return
        if self._done is None:
            self._drop()  # between two checks: closed, or it speaks unasked
        elif data:
            self._received_bytes += len(data)
            self._take(data)
        elif not self._begins_anew():
            self._take_end()

    def _lose(self, code: int) -> None:
        """Take an error of the connection."""
        if self._done is None:
            self._drop()
        elif not self._begins_anew():
            self._end_by(code)

    def _begins_anew(self) -> bool:
        """Connect again if what was lost is a kept connection that went stale."""
        if self._checks_here == 1 or self._received_bytes:
            return False
        self._drop()
        self._connect()
        return True

    def _drop(self) -> None:
        if self._socket is not None:
            fd = self._socket.fileno()
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            with suppress(OSError):  # the system may tell of an error once more
                self._socket.close()
        self._socket = None
        self._unsent = b""
        self._is_connected = False
        self._checks_here = 0

    # -- the end

    def _end_by(self, code: int) -> None:
        why = os.strerror(code)
        self._end(Outcome(why[:1].lower() + why[1:], is_ours=code in _OURS))

    def _end(self, outcome: Outcome, *, keeps: bool = False) -> None:
        done, self._done = self._done, None
        if not keeps or self._unsent or self._checks_here >= _CHECKS_PER_CONNECTION:
            self._drop()
        assert done is not None  # what ends was begun
        done(outcome)


class HttpProbe(Probe):
    """Asks for a path, and looks at the status and, if asked to, at the body."""

    def __init__(
        self, loop: "asyncio.AbstractEventLoop", place: Place, rules: "Health"
    ) -> None:
        super().__init__(loop, place, rules)
        self._request = _request(place, rules)
        self._is_head = rules.method == "HEAD"
        self._statuses = parse_statuses(rules.expect or ANY_OK)
        self._fits = None if rules.body is None else body_matcher(rules.body)
        self._parser: HttpResponseParser | None = None
        self._status = 0
        self._is_framed = False
        self._is_whole = False
        self._is_kept = False
        self._is_more = False
        self._body = bytearray()
        self._body_bytes = 0

    def _talk(self) -> None:
        if self._checks_here == 1:
            self._parser = HttpResponseParser(self)
        self._status = self._body_bytes = 0
        self._is_framed = self._is_whole = self._is_kept = self._is_more = False
        self._body.clear()
        self._send(self._request)

    def _take(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._is_whole = self._is_more = True
        except HttpParserError:
            if not self._is_whole:
                self._end(Outcome("the answer is not HTTP"))
                return
            self._is_more = True
        if self._is_whole:
            self._judge(keeps=self._is_kept and not self._is_more)
        elif self._body_bytes >= MOST_BODY_BYTES:
            self._judge()
        elif not self._status and self._received_bytes > _MOST_HEAD_BYTES:
            self._end(Outcome("the head of the answer is too long"))

    def _take_end(self) -> None:
        if self._status and not self._is_framed:
            self._judge()
        elif self._received_bytes:
            self._end(Outcome("closed before the answer was whole"))
        else:
            self._end(Outcome("closed without an answer"))

    def _judge(self, *, keeps: bool = False) -> None:
        why = ""
        if self._status not in self._statuses:
            why = f"status {self._status}"
        elif self._fits is not None and not self._fits(bytes(self._body)):
            why = "the body does not contain what is expected"
        self._end(Outcome(why), keeps=keeps)

    def _late_text(self) -> str:
        return "no whole answer" if self._received_bytes else "no answer"

    # -- what the parser finds

    def on_message_begin(self) -> None:
        """Note an answer that nobody asked for."""
        self._is_more |= self._is_whole

    def on_header(self, name: bytes, _value: bytes) -> None:
        """Note whether the answer says where it ends."""
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._is_framed = True

    def on_headers_complete(self) -> None:
        """Take the status; that of an interim response is none."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self._is_whole or (100 <= status < 200 and status != 101):
            return
        self._status = status
        if self._is_head:
            # Whatever it says of a body, none follows; the parser would wait for it.
            self._is_whole = self._is_more = True

    def on_body(self, body: bytes) -> None:
        """Keep what is looked at."""
        self._body_bytes += len(body)
        if self._fits is not None:
            self._body += body[: MOST_BODY_BYTES - len(self._body)]

    def on_message_complete(self) -> None:
        """End the answer, unless it was an interim one."""
        assert self._parser is not None
        if self._status and not self._is_whole:
            self._is_whole = True
            self._is_kept = self._parser.should_keep_alive()  # later it knows no more


class TcpProbe(Probe):
    """Connects, sends if there is something to send, and looks at what comes."""

    def __init__(
        self, loop: "asyncio.AbstractEventLoop", place: Place, rules: "Health"
    ) -> None:
        super().__init__(loop, place, rules)
        self._words = (rules.send or "").encode()
        self._expected = (rules.expect or "").encode()
        self._heard = b""

    def _talk(self) -> None:
        self._heard = b""
        if self._words:
            self._send(self._words)
        if not self._expected and self._done is not None:
            self._end(Outcome())

    def _take(self, data: bytes) -> None:
        self._heard += data
        if self._expected in self._heard:
            self._end(Outcome())
        elif len(self._heard) >= MOST_BODY_BYTES:
            self._take_end()

    def _take_end(self) -> None:
        if self._heard:
            self._end(Outcome("the answer does not contain what is expected"))
        else:
            self._end(Outcome("closed without an answer"))

    def _late_text(self) -> str:
        return "not the expected answer" if self._heard else "no answer"


def _request(place: Place, rules: "Health") -> bytes:
    lines = [f"{rules.method} {rules.path} HTTP/1.1"]
    lines += [f"Host: {rules.host or place.authority}"]
    if "user-agent" not in map(str.lower, rules.headers):
        lines += [f"User-Agent: fastgate/{__version__} (health check)"]
    lines += [f"{name}: {value}" for name, value in rules.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def make_probe(
    loop: "asyncio.AbstractEventLoop", place: Place, rules: "Health"
) -> Probe:
    """Make the probe that an upstream's `health` asks for."""
    kind = TcpProbe if rules.tcp else HttpProbe
    if rules.port is not None:
        place = place._replace(port=rules.port)
    return kind(loop, place, rules)
