"""A client that decides about each segment it sends, and reads with h11.

h11 is a second opinion: a response that it refuses is a failed test.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import h11
from support import addresses
from support.fields import Fields

READ_BYTES = 1 << 18
HEAD_LIMIT_BYTES = 1 << 20


class TruncatedError(AssertionError):
    """The connection ended before the response did."""


@dataclass
class Response(Fields):
    """One response; header names in the case in which they came."""

    status: int
    reason: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    interim: list[Response] = field(default_factory=list)
    raw: bytes = b""

    @property
    def is_last(self) -> bool:
        return (self.value("connection") or b"").lower() == b"close"


def request(
    method: str = "GET",
    target: str = "/",
    headers: dict[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    *,
    host: str | None = "example.com",
    version: str = "1.1",
) -> bytes:
    """A request head and body; a Content-Length is added when there is a body."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in pairs]
    names = {name.lower() for name, _ in pairs}
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


class Client:
    """One connection. Use as a context manager, or let the rig close it."""

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 10.0,
        source: str | None = None,
        receive_buffer_bytes: int = 0,
    ) -> None:
        self.sock = addresses.connect(
            address,
            timeout_s=timeout_s,
            source=source,
            receive_buffer_bytes=receive_buffer_bytes,
        )
        self.unread = b""
        self._sender: threading.Thread | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def local_address(self) -> tuple[str, int]:
        return self.sock.getsockname()[:2]

    # Writing.

    def send(self, data: bytes, *, cuts: Sequence[int] = ()) -> None:
        """Send `data`; each offset in `cuts` begins a new segment."""
        for start, end in itertools.pairwise([0, *cuts, len(data)]):
            if end > start:
                self.sock.sendall(data[start:end])

    def send_as_far_as_taken(self, data: bytes, *, cuts: Sequence[int] = ()) -> bool:
        """Like `send`, but a peer that hangs up early is no error."""
        try:
            self.send(data, cuts=cuts)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def send_in_background(self, data: bytes) -> None:
        def work() -> None:
            with contextlib.suppress(OSError):
                self.sock.sendall(data)

        self._sender = threading.Thread(target=work, daemon=True)
        self._sender.start()

    def drip(self, data: bytes, *, pause_s: float) -> int:
        """Send a byte at a time until done or the peer answers or hangs up.

        Returns how many bytes were sent.
        """
        for index in range(len(data)):
            if self.has_answer(pause_s):
                return index
            if not self.send_as_far_as_taken(data[index : index + 1]):
                return index
        return len(data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection by RST; harmless if it has ended already."""
        with contextlib.suppress(OSError):
            addresses.reset(self.sock)
        self.close()

    def close(self) -> None:
        self.sock.close()
        if self._sender is not None:
            self._sender.join(5)

    # Reading.

    def has_answer(self, within_s: float = 0.0) -> bool:
        """Whether bytes, or the end of the stream, are there to be read."""
        if self.unread:
            return True
        return bool(select.select([self.sock], [], [], within_s)[0])

    def read_some(self) -> bytes:
        """What comes next; empty at the end of the stream."""
        if self.unread:
            data, self.unread = self.unread, b""
            return data
        return self.sock.recv(READ_BYTES)

    def read_exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.read_some()
            if not piece:
                raise TruncatedError(f"{len(data)} of {size} bytes")
            data += piece
        self.unread = bytes(data[size:]) + self.unread
        return bytes(data[:size])

    def read_to_end(self) -> bytes:
        """Everything until the peer closes; a reset raises."""
        data = bytearray()
        while piece := self.read_some():
            data += piece
        return bytes(data)

    def read_to_any_end(self) -> tuple[bytes, bool]:
        """Everything until FIN or RST, and whether it was an orderly FIN."""
        data = bytearray()
        try:
            while piece := self.read_some():
                data += piece
        except ConnectionResetError:
            return bytes(data), False
        return bytes(data), True

    def read_response(self, method: str = "GET", *, upgrade: bool = False) -> Response:
        """One whole response, its interim ones inside.

        Raises TruncatedError if the connection ends first, h11.RemoteProtocolError for
        what is not HTTP/1.1. What came after it stays in `unread`.
        """
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        asked = [("Host", "a")]
        if upgrade:
            asked += [("Upgrade", "any"), ("Connection", "Upgrade")]
        parser.send(h11.Request(method=method, target="/", headers=asked))
        parser.send(h11.EndOfMessage())
        raw = bytearray()
        interim: list[Response] = []
        head: Response | None = None
        body = bytearray()
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = self._read_for(parser, head)
                raw += data
                parser.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                answer = _head(event)
                if event.status_code == 101:
                    head = answer
                    break
                interim.append(answer)
            elif isinstance(event, h11.Response):
                head = _head(event)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise TruncatedError(f"no response; {bytes(raw)!r}")
        if head is None:
            raise TruncatedError(f"no final response in {bytes(raw)!r}")
        self.unread = bytes(parser.trailing_data[0]) + self.unread
        head.body = bytes(body)
        head.interim = interim
        head.raw = bytes(raw[: len(raw) - len(parser.trailing_data[0])])
        return head

    def _read_for(self, parser: h11.Connection, head: Response | None) -> bytes:
        try:
            data = self.read_some()
        except ConnectionResetError as error:
            raise TruncatedError(f"reset; had {head!r}") from error
        if not data and head is None:
            raise TruncatedError("closed before a response")
        if not data and not _ends_at_eof(head):
            raise TruncatedError("closed inside a body")
        return data

    def ask(self, *args: object, **kwargs: object) -> Response:
        """Send one request (see `request`) and read its response."""
        data = request(*args, **kwargs)  # type: ignore[arg-type]
        self.send(data)
        return self.read_response(data.split(b" ", 1)[0].decode())

    def is_closed(self, within_s: float = 2.0) -> bool:
        """Whether the peer closed or reset, with nothing unread before that."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not self.has_answer(deadline - time.monotonic()):
                return False
            try:
                data = self.sock.recv(READ_BYTES)
            except ConnectionResetError:
                return True
            if not data:
                return True
            raise AssertionError(f"unexpected bytes {data!r}")
        return False

    def is_open(self, for_s: float = 0.05) -> bool:
        """Whether the peer neither sent nor closed for that long."""
        return not self.has_answer(for_s)


def _head(event: h11.InformationalResponse | h11.Response) -> Response:
    return Response(
        event.status_code,
        bytes(event.reason),
        bytes(event.http_version),
        [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()],
    )


def _ends_at_eof(head: Response | None) -> bool:
    return (
        head is not None
        and not head.values("content-length")
        and not head.values("transfer-encoding")
    )


def fetch(
    address: str, *args: object, source: str | None = None, **kwargs: object
) -> Response:
    """One request on a connection of its own."""
    with Client(address, source=source) as client:
        return client.ask(*args, **kwargs)
