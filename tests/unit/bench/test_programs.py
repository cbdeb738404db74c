"""The two C programs of the bench, through real sockets."""

import shutil
import socket
from collections.abc import Iterator

import pytest
from load import peers

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
HELLO = b"Hello, world!"


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    peers.build()
    with peers.backends() as given:
        yield given


def talk(port: int, sent: list[bytes], length: int) -> bytes:
    """Send the pieces one after the other, then read until `length` or the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in sent:
            connection.sendall(piece)
        got = bytearray()
        while len(got) < length and (chunk := connection.recv(65536)):
            got += chunk
    return bytes(got)


@pytest.mark.parametrize(
    ("path", "size"), [("/", 13), ("/any", 13), ("/64k", 65536), ("/1m", 1 << 20)]
)
def test_every_path_has_its_body(ports: list[int], path: str, size: int) -> None:
    assert [peers.ask(port, "GET", path) for port in ports] == [(200, size)] * 2


def test_a_post_is_answered_when_its_last_byte_is_in(ports: list[int]) -> None:
    assert peers.ask(ports[0], "POST", "/", bytes(1_000_000)) == (200, 13)
    assert peers.ask(ports[0], "POST", "/", b"") == (200, 13)


def test_pipelined_requests_are_answered_in_order(ports: list[int]) -> None:
    post = b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\n12345"
    large = b"GET /1m HTTP/1.1\r\n\r\n"
    last = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"

    got = talk(ports[0], [post + large + last], 1 << 30)

    assert got.count(b"HTTP/1.1 200 OK") == 3
    lengths = [line.split()[1] for line in got.split(b"\r\n") if b"Length" in line]
    assert lengths == [b"13", b"1048576", b"13"]
    assert got.endswith(HELLO)


def test_a_head_may_come_in_pieces(ports: list[int]) -> None:
    got = talk(
        ports[0], [b"GET / HT", b"TP/1.1\r\nConnection: close\r", b"\n\r\n"], 1 << 20
    )

    assert got.endswith(b"\r\n\r\n" + HELLO)


def test_a_chunked_request_is_refused_rather_than_misread(ports: list[int]) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert talk(ports[0], [head], 1 << 20).startswith(b"HTTP/1.1 411 ")


def test_a_gibibyte_is_announced_and_streamed(ports: list[int]) -> None:
    got = talk(ports[0], [b"GET /1g HTTP/1.1\r\n\r\n"], 3 << 20)

    assert b"Content-Length: 1073741824\r\n" in got[:256]
    assert len(got) >= 3 << 20


def test_the_floor_passes_on_what_comes_and_waits_for_slow_readers(
    ports: list[int],
) -> None:
    with peers.running("floor", ports, workers=2) as floor:
        assert len(floor.pids) == 2
        # The answer is far larger than all socket buffers on the way, and nothing is
        # read before all of it has been asked for.
        asked = [b"GET /1m HTTP/1.1\r\n\r\n"] * 31
        closing = b"GET /1m HTTP/1.1\r\nConnection: close\r\n\r\n"
        got = talk(floor.port, [*asked, closing], 1 << 30)

        assert peers.ask(floor.port, "POST", "/", bytes(16384)) == (200, 13)

    bodies = len(got) - len(b"".join(got.partition(b"\r\n\r\n")[:2])) * 32
    assert bodies == 32 << 20


def test_a_proxy_that_does_not_start_is_an_error_with_its_last_words() -> None:
    command = ["sh", "-c", "echo no such gateway >&2; exit 3", "sh"]

    with (
        pytest.raises(peers.PeerError, match="no such gateway"),
        peers.running("fastgate", [1, 2], fastgate=command),
    ):
        pass
