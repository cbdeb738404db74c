"""Measure what connections cost a proxy in memory: RSS growth of its processes.

Runs in: none; `python bench/memory.py [--half-head | --slow-reader] [--peer nginx]`.
RSS is what the process touched; buffers of the kernel's sockets are not in it. Exit
codes: 0 measured, 1 the proxy failed or (with --at-most) grew more, 2 usage.
"""

import argparse
import contextlib
import resource
import select
import shlex
import socket
import sys
import time

from load import peers, procs
from load.report import aligned

WARM_UP_REQUESTS = 1000
# The first connections touch pages that every later one shares (slabs, heap tops).
WARM_UP_CONNECTIONS = 64
# fastgate's default leaves a file for an upstream connection beside each; these
# connections are idle and have none, so it may be told to take more.
SPARE_CONNECTIONS = 200
GET = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
HELLO_ENDS = b"Hello, world!"
# A reader that stops after this has left the socket buffers far behind.
SLOW_READER_READS_BYTES = 4 << 20
SETTLE_S, SETTLE_AT_MOST_S = 0.5, 8.0


class MemoryBenchError(Exception):
    """The proxy closed a connection that it should have kept, or said nonsense."""


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def exchange(connection: socket.socket) -> None:
    """Ask once on this connection and read the whole answer."""
    connection.sendall(GET)
    got = b""
    while not got.endswith(HELLO_ENDS):
        chunk = connection.recv(4096)
        if not chunk:
            raise MemoryBenchError(f"closed after {got!r}")
        got += chunk
    if not got.startswith(b"HTTP/1.1 200 "):
        raise MemoryBenchError(f"answered {got!r}")


def half_a_head(size: int) -> bytes:
    """Give the first `size` bytes of a head that is not over yet.

    Lines of 64 bytes, as browsers send several of that length.
    """
    lines, number = [b"GET / HTTP/1.1\r\nHost: bench\r\n"], 0
    while sum(map(len, lines)) < size:
        lines.append(f"X-Filler-{number:03}: ".encode().ljust(62, b"a") + b"\r\n")
        number += 1
    # Never on the end of a line, so that it can be no end of a head.
    return b"".join(lines)[:size].rstrip(b"\r\n") or b"G"


def settled(pids: list[int]) -> dict[int, int]:
    """Give RSS bytes by process once no process has grown for SETTLE_S."""
    deadline = time.monotonic() + SETTLE_AT_MOST_S
    before, still_since = {p: procs.rss_bytes(p) for p in pids}, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - still_since < SETTLE_S:
        time.sleep(0.05)
        now = {pid: procs.rss_bytes(pid) for pid in pids}
        if now != before:
            before, still_since = now, time.monotonic()
    return before


def warm_up(port: int) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connect(port))
        for _ in range(WARM_UP_REQUESTS):
            exchange(first)
        for _ in range(WARM_UP_CONNECTIONS):
            exchange(stack.enter_context(connect(port)))


def closed_by_proxy(connections: list[socket.socket]) -> int:
    """Count the connections on which the proxy has said something or closed."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return len(poll.poll(0))


def hold(port: int, options: argparse.Namespace, stack: contextlib.ExitStack) -> None:
    """Open what is to be measured; it stays open as long as `stack`."""
    if options.slow_reader:
        reader = stack.enter_context(connect(port))
        reader.sendall(GET.replace(b"GET /", b"GET /1g"))
        read = 0
        while read < SLOW_READER_READS_BYTES:
            chunk = reader.recv(65536)
            if not chunk:
                raise MemoryBenchError(f"closed after {read} bytes of 1 GiB")
            read += len(chunk)
        return
    half = half_a_head(options.head_bytes)
    connections = []
    for _ in range(options.count):
        connection = stack.enter_context(connect(port))
        if options.half_head:
            connection.sendall(half)
        else:
            exchange(connection)
        connections.append(connection)
    with connect(port) as last:  # whatever came before this has been read
        exchange(last)
    if closed := closed_by_proxy(connections):
        raise MemoryBenchError(f"{closed} of {options.count} were not kept open")


def measure(options: argparse.Namespace) -> tuple[dict[int, int], dict[int, int]]:
    """Give RSS by process, before and while the connections are held."""
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(peers.backends())
        peer = stack.enter_context(
            peers.running(
                options.peer,
                ports,
                fastgate=options.fastgate,
                flags=["--max-conns", str(options.count + SPARE_CONNECTIONS)],
            )
        )
        warm_up(peer.port)
        before = settled(peer.pids)
        hold(peer.port, options, stack)
        after = settled(peer.pids)
        rows = [
            [procs.name(pid)[:48], *(str(x >> 10) for x in (before[pid], after[pid]))]
            for pid in peer.pids
        ]
        print(aligned(rows, ("process", "before KiB", "after KiB")))
        return before, after


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many files as allowed; give it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0] if __doc__ else None
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--half-head", action="store_true", help="hold half a head each")
    kind.add_argument(
        "--slow-reader", action="store_true", help="one that stops in a 1 GiB answer"
    )
    parser.add_argument(
        "--count", type=int, help="connections; default 10000, 3000 with --half-head"
    )
    parser.add_argument(
        "--head-bytes", type=int, default=2048, help="of half a head, default 2048"
    )
    parser.add_argument("--peer", choices=peers.PEERS, default="fastgate")
    parser.add_argument("--fastgate", type=shlex.split, metavar="COMMAND")
    parser.add_argument(
        "--at-most", type=int, metavar="BYTES", help="exit with 1 above this growth"
    )
    options = parser.parse_args(argv)
    if options.count is None:
        options.count = 3000 if options.half_head else 10000
    if options.slow_reader:
        options.count = 1
    return options


def main(argv: list[str]) -> int:
    options = arguments(argv)
    limit = raise_descriptor_limit()
    if options.count > limit - 100:
        print(f"memory: {options.count} need more than {limit} files", file=sys.stderr)
        return 2
    peers.build()
    try:
        before, after = measure(options)
    except (peers.PeerError, MemoryBenchError, OSError) as error:
        print(f"memory: {options.peer}: {error}", file=sys.stderr)
        return 1
    growth = max(after[pid] - before[pid] for pid in before)
    each = growth / options.count
    print(
        f"{options.peer}: the process that grew most grew {growth / 1024:.0f} KiB, "
        f"{each:.0f} bytes per connection ({options.count} connections)"
    )
    return 1 if options.at_most is not None and each > options.at_most else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
