"""`fastgate demo`: the gateway over two embedded upstreams.

Runs in: master, and in the two child processes that are the upstreams.

The parent binds their sockets, so that both accept before the gateway starts
and no port is ever guessed. A child ends when its standard input does: the
write end is held by the parent and, through fork, by the gateway's processes,
so that the upstreams outlive every request in flight and nothing else.
"""

import asyncio
import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastgate.config.knobs import KNOBS
from fastgate.config.load import Loaded, load
from fastgate.config.quick import QUICK
from fastgate.control.preflight import check_machine
from fastgate.errors import StartError

if TYPE_CHECKING:
    from fastgate.control.sockets import BoundListener

NAMES = ("alpha", "beta")
LISTEN = "127.0.0.1:8080"

_LARGEST_HEAD_BYTES = 64 << 10
_READ_BYTES = 64 << 10
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


# -- the upstreams


class _BadMessageError(Exception):
    """The request cannot be read; the connection is closed after a 400."""


async def _read_head(
    reader: asyncio.StreamReader,
) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Read a head: method, target, version and fields."""
    raw = await reader.readuntil(b"\r\n\r\n")
    start, *lines = raw[:-4].decode("latin-1").split("\r\n")
    words = start.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _BadMessageError
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise _BadMessageError
        fields.append((name, value.strip()))
    return words[0], words[1], words[2], fields


def _length(text: str, base: int) -> int:
    try:
        length = int(text, base)
    except ValueError:
        raise _BadMessageError from None
    if length < 0:
        raise _BadMessageError
    return length


async def _skip_bytes(reader: asyncio.StreamReader, count: int) -> None:
    while count:
        data = await reader.read(min(count, _READ_BYTES))
        if not data:
            raise asyncio.IncompleteReadError(b"", count)
        count -= len(data)


async def _skip_body(reader: asyncio.StreamReader, fields: dict[str, str]) -> int:
    """Read a body and give its size in bytes."""
    if fields.get("transfer-encoding", "").lower() != "chunked":
        total = _length(fields.get("content-length", "0"), 10)
        await _skip_bytes(reader, total)
        return total
    total = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        size = _length(line.split(b";")[0].strip().decode("latin-1"), 16)
        if size == 0:
            break
        await _skip_bytes(reader, size)
        await reader.readexactly(2)
        total += size
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return total


def _response(
    name: str, method: str, target: str, fields: Sequence[tuple[str, str]], body: int
) -> bytes:
    lines = [f"hello from {name}", "", f"{method} {target}"]
    lines += [f"{field}: {value}" for field, value in fields]
    if body:
        lines += ["", f"({body} bytes of body)"]
    return ("\n".join(lines) + "\n").encode("latin-1")


async def _answer(
    name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Answer one request; says whether the connection may carry another."""
    method, target, version, pairs = await _read_head(reader)
    fields = {key.lower(): value for key, value in pairs}
    if fields.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body_bytes = await _skip_body(reader, fields)
    body = _response(name, method, target, pairs, body_bytes)
    wishes = fields.get("connection", "").lower()
    is_kept = wishes != "close" if version == "HTTP/1.1" else wishes == "keep-alive"
    head = (
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: text/plain; charset=iso-8859-1\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Demo-Upstream: {name}\r\n"
        f"Connection: {'keep-alive' if is_kept else 'close'}\r\n\r\n"
    )
    writer.write(head.encode("latin-1"))
    if method != "HEAD":
        writer.write(body)
    await writer.drain()
    return is_kept


async def _serve_connection(
    name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while await _answer(name, reader, writer):
            pass
    except (_BadMessageError, asyncio.LimitOverrunError):
        writer.write(_BAD_REQUEST)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the peer has left
    except asyncio.CancelledError:
        pass  # the demo ends; this task is nobody's to await
    finally:
        with contextlib.suppress(ConnectionError):
            writer.close()


async def serve(name: str, listening: socket.socket, until: asyncio.Event) -> None:
    """Be one upstream on a bound socket until the event is set."""

    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await _serve_connection(name, reader, writer)

    server = await asyncio.start_server(
        connected, sock=listening, limit=_LARGEST_HEAD_BYTES, backlog=1024
    )
    async with server:
        await until.wait()


async def _serve_until_orphaned(name: str, listening: socket.socket) -> None:
    until = asyncio.Event()

    def look() -> None:
        if not os.read(0, _READ_BYTES):
            asyncio.get_running_loop().remove_reader(0)
            until.set()

    asyncio.get_running_loop().add_reader(0, look)
    await serve(name, listening, until)


def child(arguments: Sequence[str]) -> int:
    """Be an upstream: NAME and the descriptor of its listening socket."""
    name, descriptor = arguments
    with socket.socket(fileno=int(descriptor)) as listening:
        asyncio.run(_serve_until_orphaned(name, listening))
    return 0


# -- the parent


@contextlib.contextmanager
def upstreams(names: Sequence[str] = NAMES) -> Iterator[dict[str, str]]:
    """Run an upstream per name; gives name -> address while they run.

    Raises StartError if one cannot be started.
    """
    children: list[subprocess.Popen[bytes]] = []
    addresses: dict[str, str] = {}
    try:
        for name in names:
            try:
                listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
                with listening:
                    addresses[name] = f"127.0.0.1:{listening.getsockname()[1]}"
                    children.append(_start(name, listening))
            except OSError as error:
                reason = error.strerror or str(error)
                raise StartError(f"demo upstream {name}: {reason}") from None
        yield addresses
    finally:
        for process in children:
            if process.stdin is not None:
                process.stdin.close()
            # Gateway processes that still live hold the write end as well. In
            # one of them this does nothing: it is not the upstream's parent.
            process.terminate()
        for process in children:
            process.wait()


def _start(name: str, listening: socket.socket) -> "subprocess.Popen[bytes]":
    descriptor = listening.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", __name__, name, str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        # Ctrl-C is for the gateway; it ends the upstreams once it has drained.
        start_new_session=True,
    )


def configure(
    flags: Mapping[str, str | list[str]],
    addresses: Mapping[str, str],
    directory: Path,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Make the demo's configuration.

    What `flags` and variables say goes before what the demo sets.
    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    ours: dict[str, str | list[str]] = {}
    if not environ.get(QUICK["listen"].variable):
        ours["listen"] = [LISTEN]
    if not environ.get(QUICK["upstream"].variable):
        ours["upstream"] = list(addresses.values())
    if not environ.get(KNOBS["admin_socket"].variable):
        ours["admin_socket"] = str(directory / "admin.sock")
    return load(None, {**ours, **flags}, environ)


def _program() -> str:
    """Give how a shell finds fastgate: by its name, or as it was called."""
    called = Path(sys.argv[0])
    is_hidden = called.name == "fastgate" and shutil.which("fastgate") is None
    return str(called) if is_hidden else "fastgate"


def greeting(address: str, addresses: Mapping[str, str], admin: str | None) -> str:
    """Give what the demo prints: the upstreams and what to try.

    address  what is listened on
    admin    its admin socket
    """
    named = ", ".join(f"{name} on {address}" for name, address in addresses.items())
    if address.startswith("unix:"):
        curl = f"curl --unix-socket {address.removeprefix('unix:')} http://demo"
    else:
        host, _, port = address.rpartition(":")
        local = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        curl = f"curl http://{local}:{port}"
    return "\n".join(
        (
            f"fastgate demo: {address} over {named}",
            "",
            "try, in another terminal:",
            f"  {curl}/",
            f"  {curl}/any/path?q=1 -d some=body",
            f"  {_program()} status --admin-socket {admin}",
            "",
            "Ctrl-C ends it.",
        )
    )


def run(flags: Mapping[str, str | list[str]]) -> int:
    """Serve until told to stop; returns the master's exit code.

    flags  as `load.load` takes them
    Raises ConfigError and StartError.
    """
    owner = os.getpid()
    directory = Path(tempfile.mkdtemp(prefix="fastgate-demo-"))
    try:
        with upstreams() as addresses:
            loaded = configure(flags, addresses, directory)
            check_machine(loaded)
            admin = loaded.config.gateway.admin_socket

            def greet(bound: "list[BoundListener]") -> None:
                print(greeting(bound[0].address, addresses, admin), flush=True)

            master = importlib.import_module("fastgate.control.master")
            # Nothing of it is in a file: a reload is refused.
            return int(master.run(loaded.config, greet))
    finally:
        # A process that the master forked may unwind through here as well.
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(child(sys.argv[1:]))
