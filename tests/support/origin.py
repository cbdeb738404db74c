"""Upstream services for tests: a script per connection, every byte recorded.

An `Origin` listens, and runs its `script` in a thread for each connection. A
script is a plain function of one `OriginConnection`: read a request, send some
bytes, close, reset, stall. `serve` is the script of a well-behaved service.

The request parser here is strict and knows nothing of the gateway's: whatever
the gateway forwards that is not exact HTTP/1.1 lands in `Origin.violations`,
and the fixture that made the origin fails the test for it.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from support import addresses
from support.fields import Fields
from support.waiting import eventually

Headers = list[tuple[bytes, bytes]]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
REQUEST_LINE = re.compile(rb"([A-Z\-]+) (\S+) HTTP/(1\.[01])\Z")

READ_BYTES = 1 << 18
IDLE_S = 20.0


class WireError(AssertionError):
    """The gateway forwarded something that is not well-formed HTTP/1.1."""


class PeerGoneError(Exception):
    """The peer closed or reset in the middle of a message."""


@functools.lru_cache(maxsize=32)
def pattern(size: int) -> bytes:
    """`size` bytes that repeat nowhere, the same for every caller."""
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Request(Fields):
    """One request as it arrived: header names in their case, in their order."""

    method: bytes
    target: bytes
    version: bytes
    headers: Headers
    head: bytes
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    connection: int = -1
    is_complete: bool = False

    def names(self) -> list[bytes]:
        return [name.lower() for name, _ in self.headers]

    @property
    def is_chunked(self) -> bool:
        return self.value("transfer-encoding") is not None


def response(
    status: int = 200,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    framing: str = "length",
    chunk_bytes: int = 16384,
    version: str = "1.1",
) -> bytes:
    """A whole response. framing: length, chunked, eof, or none (no body at all)."""
    lines = [f"HTTP/{version} {status} Because"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if framing == "chunked":
        return head + chunked(body, chunk_bytes)
    return head if framing == "none" else head + body


def chunked(body: bytes, chunk_bytes: int = 16384, trailer: bytes = b"") -> bytes:
    out = bytearray()
    for start in range(0, len(body), chunk_bytes):
        piece = body[start : start + chunk_bytes]
        out += b"%x\r\n%b\r\n" % (len(piece), piece)
    return bytes(out) + b"0\r\n" + trailer + b"\r\n"


class OriginConnection:
    """One accepted connection, as a script sees it."""

    def __init__(self, origin: Origin, sock: socket.socket, index: int) -> None:
        self.origin = origin
        self.sock = sock
        self.index = index
        self.received = bytearray()
        self.requests: list[Request] = []
        self.saw_eof = False
        self.saw_reset = False
        self.is_closed = False
        self._unread = bytearray()

    # Reading.

    def _more(self) -> bool:
        """Read once; False at the end of the stream."""
        try:
            data = self.sock.recv(READ_BYTES)
        except ConnectionResetError:
            self.saw_reset = True
            data = b""
        except TimeoutError as late:
            raise PeerGoneError("nothing came") from late
        except OSError:
            data = b""
        if not data:
            self.saw_eof = True
            return False
        self.received += data
        self._unread += data
        return True

    def read_some(self) -> bytes:
        """Whatever comes next; empty at the end of the stream."""
        if not self._unread and not self._more():
            return b""
        data = bytes(self._unread)
        self._unread.clear()
        return data

    def read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            if not self._more():
                raise PeerGoneError(f"{len(self._unread)} of {size} bytes")
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def read_through(self, mark: bytes) -> bytes:
        start = 0
        while (at := self._unread.find(mark, start)) < 0:
            start = max(0, len(self._unread) - len(mark) + 1)
            if not self._more():
                raise PeerGoneError(f"no {mark!r}")
        return self.read_exactly(at + len(mark))

    def read_to_end(self) -> bytes:
        """Everything until the peer closes its side."""
        data = bytearray()
        while piece := self.read_some():
            data += piece
        return bytes(data)

    def wait_closed(self) -> None:
        """Return when the peer has closed or reset; what it sends is recorded."""
        with contextlib.suppress(PeerGoneError):
            self.read_to_end()

    def read_head(self) -> Request | None:
        """The next request head, or None if the peer closed between requests."""
        if not self._unread and not self._more():
            return None
        head = self.read_through(b"\r\n\r\n")
        request = parse_head(head)
        request.connection = self.index
        self.requests.append(request)
        with self.origin.lock:
            self.origin.heads.append(request)
        return request

    def read_body(self, request: Request) -> bytes:
        """The body of `request`, strictly by its framing."""
        if request.is_chunked:
            request.body, request.trailers = self._read_chunks()
        else:
            length = request.value("content-length")
            request.body = self.read_exactly(int(length)) if length else b""
        request.is_complete = True
        with self.origin.lock:
            self.origin.requests.append(request)
        return request.body

    def _read_chunks(self) -> tuple[bytes, Headers]:
        body = bytearray()
        while True:
            line = self.read_through(b"\r\n")[:-2]
            if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", line):
                raise WireError(f"chunk size line {line!r}")
            size = int(line, 16)
            if not size:
                break
            body += self.read_exactly(size)
            if self.read_exactly(2) != b"\r\n":
                raise WireError("no CRLF after a chunk")
        trailers: Headers = []
        while line := self.read_through(b"\r\n")[:-2]:
            trailers.append(parse_header(line))
        return bytes(body), trailers

    def read_request(self) -> Request | None:
        request = self.read_head()
        if request is not None:
            self.read_body(request)
        return request

    # Writing.

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise PeerGoneError(str(error)) from error

    def drip(self, data: bytes, *, step: int = 1, pause_s: float = 0.0) -> None:
        """Send `data` in pieces of `step` bytes, each in a segment of its own."""
        for start in range(0, len(data), step):
            self.send(data[start : start + step])
            if pause_s and self.origin.stopping.wait(pause_s):
                return

    def stall(self, seconds: float = 3600.0) -> None:
        """Do nothing until the time is over or the origin is closed or healed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.origin.stopping.wait(0.02) or self.is_closed:
                return

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()

    def reset(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            addresses.reset(self.sock)


def parse_header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not TOKEN.match(name):
        raise WireError(f"header line {line!r}")
    value = value.strip(b" \t")
    if not VALUE.match(value):
        raise WireError(f"header value {value!r}")
    return name, value


def parse_head(head: bytes) -> Request:
    """A strict reading of RFC 9112 sections 3, 5 and 6.

    Raises WireError for anything that two parsers could read in two ways.
    """
    lines = head[:-4].split(b"\r\n")
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise WireError(f"bare CR or LF in {head!r}")
    start = REQUEST_LINE.match(lines[0])
    if not start:
        raise WireError(f"request line {lines[0]!r}")
    method, target, version = start.groups()
    request = Request(method, target, version, [], head)
    request.headers = [parse_header(line) for line in lines[1:]]
    if len(request.values("host")) != 1:
        raise WireError(f"Host {request.values('host')}")
    lengths = request.values("content-length")
    codings = request.values("transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise WireError(f"framing {lengths} {codings}")
    if lengths and not re.fullmatch(rb"[0-9]{1,19}", lengths[0]):
        raise WireError(f"Content-Length {lengths[0]!r}")
    if codings and codings[0].lower() != b"chunked":
        raise WireError(f"Transfer-Encoding {codings[0]!r}")
    return request


Script = Callable[[OriginConnection], None]


class Origin:
    """A listening service. `script` may be replaced between two connections."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        family: str = "ipv4",
        name: str = "origin",
        backlog: int = 128,
    ) -> None:
        self.name = name
        self.script: Script = script or serve
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.connections: list[OriginConnection] = []
        self.heads: list[Request] = []
        self.requests: list[Request] = []
        self.violations: list[BaseException] = []
        self.listener, self.address = addresses.listen(family, backlog=backlog)
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def received(self) -> bytes:
        """Every byte of every connection, in the order of accepting."""
        return b"".join(bytes(c.received) for c in list(self.connections))

    @property
    def open_connections(self) -> list[OriginConnection]:
        return [c for c in list(self.connections) if not c.is_closed]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(IDLE_S)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                connection = OriginConnection(self, sock, len(self.connections))
                self.connections.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self, connection: OriginConnection) -> None:
        try:
            self.script(connection)
        except PeerGoneError:
            pass
        except Exception as error:
            self.violations.append(error)
        finally:
            connection.close()

    def wait_for_requests(self, count: int, *, within_s: float = 5.0) -> list[Request]:
        eventually(
            lambda: len(self.requests) >= count,
            within_s=within_s,
            what=f"{count} requests at {self.name}, not {len(self.requests)}",
        )
        return list(self.requests)

    def wait_for_heads(self, count: int, *, within_s: float = 5.0) -> list[Request]:
        eventually(
            lambda: len(self.heads) >= count,
            within_s=within_s,
            what=f"{count} request heads at {self.name}",
        )
        return list(self.heads)

    def forget(self, script: Script | None = None) -> None:
        """Begin anew with `script`: hang up, wait for the peer, drop the record.

        An idle pooled connection of the gateway gets FIN and is given time to be
        closed from that side, so that the next request meets none of the old ones.
        """
        self.stopping.set()
        for connection in self.open_connections:
            connection.half_close()
        for thread in list(self._threads):
            thread.join(2)
        for connection in self.open_connections:
            connection.close()
        self.stopping.clear()
        with self.lock:
            self._threads.clear()
            self.connections.clear()
            self.heads.clear()
            self.requests.clear()
        self.script = script or serve

    def stop_listening(self) -> None:
        """From now on connections are refused; open ones live on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._acceptor.join(5)

    def listen_again(self) -> None:
        """Undo `stop_listening` on the same address."""
        family, where = addresses.split(self.address)
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(where)
        self.listener.listen(128)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        self.stop_listening()
        self.stopping.set()
        for connection in self.open_connections:
            connection.half_close()
        for thread in list(self._threads):
            thread.join(0.5)
        for connection in self.open_connections:
            connection.close()
        if self.address.startswith("unix:"):
            path = self.address.removeprefix("unix:")
            with contextlib.suppress(OSError):
                os.unlink(path)
                os.rmdir(os.path.dirname(path))


# Scripts.


def always(data: bytes) -> Script:
    """Answer each request with the same bytes and keep the connection."""

    def script(connection: OriginConnection) -> None:
        while connection.read_request():
            connection.send(data)

    return script


def once(data: bytes, *, end: str = "close") -> Script:
    """Answer one request, then close, reset or stall."""

    def script(connection: OriginConnection) -> None:
        if connection.read_request():
            connection.send(data)
            finish(connection, end)

    return script


def hold(gate: threading.Event, data: bytes) -> Script:
    """Read a request, wait until `gate` is set, answer; and so on."""

    def script(connection: OriginConnection) -> None:
        while connection.read_request():
            while not gate.wait(0.02):
                if connection.origin.stopping.is_set():
                    return
            connection.send(data)

    return script


def silent(connection: OriginConnection) -> None:
    """Read everything, answer nothing, until the peer leaves."""
    if connection.read_request():
        connection.wait_closed()


def refuse_body(connection: OriginConnection) -> None:
    """Answer 403 to the head alone and hang up without reading the body."""
    if connection.read_head():
        connection.send(response(403, b"no", {"Connection": "close"}))
        connection.half_close()
        connection.wait_closed()


def finish(connection: OriginConnection, end: str) -> None:
    if end == "reset":
        connection.reset()
    elif end == "stall":
        connection.stall()
    elif end == "half_close":
        connection.half_close()
        connection.wait_closed()
    else:
        connection.close()


def serve(connection: OriginConnection) -> None:
    """A well-behaved service; the first segment of the path says what it does.

    /size/N /chunked/N /eof/N    a body of N bytes of `pattern`, framed so
    /slow/MS                     wait, then `ok`
    /drip/N/MS                   N bytes, one each MS milliseconds
    /status/CODE                 that status; 204 and 304 have no body
    /interim/COUNT/CODE          COUNT interim responses, then 200
    /stream                      the request body, sent back while it arrives
    /upgrade                     101 and an echo of bytes; WebSocket if asked for
    /close                       200 with Connection: close
    anything else                a JSON account of the request
    A query `?header=Name:value` puts a header into the answer.
    """
    while (request := connection.read_head()) is not None:
        if not reply(connection, request):
            return


@dataclass
class Answer:
    """What `serve` knows while it answers one request."""

    connection: OriginConnection
    request: Request
    args: list[str]
    extra: dict[str, str]

    def send(self, data: bytes) -> None:
        """Send a response, without its body where the request was HEAD."""
        if self.request.method == b"HEAD":
            data = data[: data.index(b"\r\n\r\n") + 4]
        self.connection.send(data)


def reply(connection: OriginConnection, request: Request) -> bool:
    """Serve one request; False when the connection is not to be used again."""
    url = urlsplit(request.target.decode("latin-1"))
    what, *args = url.path.strip("/").split("/")
    extra = {"X-Origin": connection.origin.name}
    if nonce := request.value("x-nonce"):
        extra["X-Nonce"] = nonce.decode()
    for pair in parse_qs(url.query).get("header", []):
        name, _, value = pair.partition(":")
        extra[name] = value
    answer = Answer(connection, request, args, extra)
    if what == "stream":
        stream_back(answer)
        return True
    if (request.value("expect") or b"").lower() == b"100-continue":
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.read_body(request)
    if what == "upgrade" and request.value("upgrade"):
        upgrade(connection, request)
        return False
    PAGES.get(what, account)(answer)
    return what not in ("eof", "close")


def size(answer: Answer) -> None:
    answer.send(response(200, pattern(int(answer.args[0])), answer.extra))


def in_chunks(answer: Answer) -> None:
    body = pattern(int(answer.args[0]))
    answer.send(response(200, body, answer.extra, framing="chunked"))


def until_eof(answer: Answer) -> None:
    body = pattern(int(answer.args[0]))
    answer.send(response(200, body, answer.extra, framing="eof"))


def with_status(answer: Answer) -> None:
    status = int(answer.args[0])
    if status in (204, 304):
        answer.send(response(status, b"", answer.extra, framing="none"))
    else:
        answer.send(response(status, b"status %d" % status, answer.extra))


def interim(answer: Answer) -> None:
    count, status = answer.args
    one = b"HTTP/1.1 %b Soon\r\nLink: </a>\r\n\r\n" % status.encode()
    for _ in range(int(count)):
        answer.connection.send(one)
    answer.send(response(200, b"final", answer.extra))


def drip(answer: Answer) -> None:
    count, pause_ms = map(int, answer.args)
    answer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
    answer.connection.drip(pattern(count), pause_s=pause_ms / 1000)


def slow(answer: Answer) -> None:
    answer.connection.stall(int(answer.args[0]) / 1000)
    answer.send(response(200, b"ok", answer.extra))


def and_close(answer: Answer) -> None:
    answer.send(response(200, b"ok", answer.extra | {"Connection": "close"}))


def account(answer: Answer) -> None:
    """What arrived, as JSON."""
    request = answer.request
    body = json.dumps(
        {
            "origin": answer.connection.origin.name,
            "method": request.method.decode(),
            "target": request.target.decode("latin-1"),
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in request.headers
            ],
            "body_bytes": len(request.body),
            "body_sha256": digest(request.body),
            "is_chunked": request.is_chunked,
        }
    ).encode()
    headers = answer.extra | {"Content-Type": "application/json"}
    answer.send(response(200, body, headers))


PAGES: dict[str, Callable[[Answer], None]] = {
    "size": size,
    "chunked": in_chunks,
    "eof": until_eof,
    "status": with_status,
    "interim": interim,
    "drip": drip,
    "slow": slow,
    "close": and_close,
}


def stream_back(answer: Answer) -> None:
    """Send the body back while it still arrives."""
    connection, request = answer.connection, answer.request
    length = int(request.value("content-length") or 0)
    head = response(200, b"", answer.extra, framing="none")[:-2]
    connection.send(head + b"Content-Length: %d\r\n\r\n" % length)
    done = 0
    while done < length:
        piece = connection.read_exactly(min(65536, length - done))
        connection.send(piece)
        done += len(piece)
    request.is_complete = True
    connection.origin.requests.append(request)


def upgrade(connection: OriginConnection, request: Request) -> None:
    protocol = (request.value("upgrade") or b"").lower()
    key = request.value("sec-websocket-key")
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    answer += b"Upgrade: %b\r\n" % protocol
    if protocol == b"websocket" and key:
        magic = key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(magic).digest())
        connection.send(answer + b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept)
        echo_frames(connection)
        return
    connection.send(answer + b"\r\n")
    while data := connection.read_some():
        connection.send(data)
    connection.half_close()


def echo_frames(connection: OriginConnection) -> None:
    """Echo WebSocket messages (RFC 6455 section 5.2) until a close frame."""
    while True:
        first, second = connection.read_exactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", connection.read_exactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", connection.read_exactly(8))
        if not second & 0x80:
            raise WireError("client frame without a mask")
        mask = connection.read_exactly(4)
        data = connection.read_exactly(size)
        whole = mask * (size // 4 + 1)
        data = bytes(a ^ b for a, b in zip(data, whole, strict=False))
        if size < 126:
            head = bytes([first, size])
        elif size < 65536:
            head = bytes([first, 126]) + struct.pack(">H", size)
        else:
            head = bytes([first, 127]) + struct.pack(">Q", size)
        connection.send(head + data)
        if first & 0x0F == 8:
            return
