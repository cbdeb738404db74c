"""What reading a head costs: ours, and bare llhttp over the same bytes as its floor.

    python -m pytest bench/micro/test_parser.py --benchmark-columns=min,median

A round is 1,000 turns of a loop in C; `ns` in extra_info is the best round's
nanoseconds for one turn. Compare ratios of one run: on a shared machine the
absolute figures drift, the ratio to bare llhttp holds.
"""

from collections.abc import Callable

import parser_probe as probe
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

TURNS = 1000
BROWSER = (
    b"GET /index.html?x=1 HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like"
    b" Gecko) Chrome/126.0.0.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"
    b"image/webp,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
    b"Referer: https://www.example.com/start\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Cache-Control: max-age=0\r\n"
    b"\r\n"
)
WRK = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
REWRITTEN = BROWSER.replace(b"/index.html", b"/a/../%69ndex.html").replace(
    b"Host: www", b"Host: WWW"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 24 Nov 2026 03:02:59 GMT\r\n"
    b"Content-Type: text/html\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\n"
)
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def measure(benchmark: BenchmarkFixture, turn: Callable[[], float]) -> None:
    best = float("inf")

    def once() -> None:
        nonlocal best
        best = min(best, turn())

    benchmark.pedantic(once, rounds=200, warmup_rounds=5)
    benchmark.extra_info["ns"] = round(best, 1)


@pytest.mark.parametrize(
    ("data", "response"),
    [(BROWSER, False), (WRK, False), (REWRITTEN, False), (ANSWER, True)],
    ids=["browser", "wrk", "rewritten", "answer"],
)
def test_a_head(benchmark: BenchmarkFixture, data: bytes, response: bool) -> None:
    side = probe.Wire(response)

    measure(benchmark, lambda: probe.time_head(side, data, TURNS))


@pytest.mark.parametrize("data", [BROWSER, WRK], ids=["browser", "wrk"])
def test_bare_llhttp(benchmark: BenchmarkFixture, data: bytes) -> None:
    measure(benchmark, lambda: probe.time_bare_llhttp(data, TURNS))


@pytest.mark.parametrize("size", [16, 1024, 16384])
def test_a_chunked_body_of_ten_chunks(benchmark: BenchmarkFixture, size: int) -> None:
    side = probe.Wire()
    body = (b"%x\r\n" % size + b"x" * size + b"\r\n") * 10 + b"0\r\n\r\n"

    measure(benchmark, lambda: probe.time_chunked(side, CHUNKED, body, 100))


@pytest.mark.parametrize("name", [b"User-Agent", b"X-Request-ID", b"Sec-Fetch-Mode"])
def test_a_header_id(benchmark: BenchmarkFixture, name: bytes) -> None:
    measure(benchmark, lambda: probe.time_header_id(name, TURNS))


def test_a_head_a_byte_at_a_time_costs_linear_time() -> None:
    """No byte is parsed more than twice, so 4 times the bytes cost about 4 times.

    The bound is loose because the time is real; quadratic would be 16 times.
    """
    times = []
    for size in (4000, 16000):
        data = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * size + b"\r\n\r\n"
        times.append(min(probe.time_trickle(data) for _ in range(20)))

    assert times[1] < 10 * times[0]
