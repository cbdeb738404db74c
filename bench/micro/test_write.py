"""Writing heads, finding routes and log lines, in nanoseconds each.

    python tests/native/setup.py -q build_ext
    pytest -s bench/micro/test_write.py --benchmark-columns=median

The loops are in C, in the probe. The least of all rounds is printed, and stands in
`extra_info` as `ns`: whatever else runs on the machine can only add to it.
"""

import os
import time
from collections.abc import Callable

import pytest
from fastgate.dataplane.route.router import Router
from log_probe import LogProbe
from pytest_benchmark.fixture import BenchmarkFixture
from readings_probe import time_route_ns
from write_probe import RequestProbe, ResponseProbe

LOOPS = 100_000
ROUNDS = 15

AGENT = b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
BROWSER = [
    (b"Host", b"www.example.com"),
    (b"User-Agent", AGENT),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"Accept-Language", b"en-US,en;q=0.5"),
    (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
    (b"Connection", b"keep-alive", True),
    (b"Cookie", b"session=0123456789abcdef0123456789abcdef; theme=dark"),
    (b"Upgrade-Insecure-Requests", b"1"),
    (b"Sec-Fetch-Dest", b"document"),
    (b"Sec-Fetch-Mode", b"navigate"),
    (b"Cache-Control", b"max-age=0"),
]
TARGET = {"path": b"/some/path", "query": b"?a=1&b=2", "authority": b"www.example.com"}
RULES = [
    ("set", b"X-Role", b"guest"),
    ("remove", b"Cookie", b""),
    ("add", b"X-A", b"1"),
]
POLICIES = {
    "bare": {},
    "x-forwarded, request id": {"x_forwarded": True, "request_id": True},
    "the same, 3 rules": {"x_forwarded": True, "request_id": True, "rules": RULES},
}


def run(benchmark: BenchmarkFixture, turn: Callable[..., float], *args: object) -> None:
    """Time `turn`, which loops LOOPS times and returns nanoseconds a loop."""
    took: list[float] = []
    benchmark.pedantic(
        lambda: took.append(turn(*args, LOOPS)), rounds=ROUNDS, warmup_rounds=1
    )
    benchmark.extra_info["ns"] = round(min(took), 1)
    print(f"\n{benchmark.name}: {min(took):.0f} ns")


@pytest.mark.parametrize("policy", POLICIES)
def test_write_request_of_eleven_fields(benchmark, policy):
    run(benchmark, RequestProbe(BROWSER, **TARGET, **POLICIES[policy]).time_ns)


def test_write_response_of_five_fields(benchmark):
    fields = [
        (b"Server", b"nginx"),
        (b"Date", b"Tue, 24 Nov 2026 03:02:59 GMT"),
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"13"),
        (b"Connection", b"keep-alive", True),
    ]
    run(benchmark, ResponseProbe(fields, length=13, reason=b"OK").time_ns)


def tables():
    return {
        "one route": Router([(None, "prefix", "/", 0)]),
        "100 routes of 10 hosts": Router(
            [(None, "prefix", "/", 100)]
            + [
                (
                    f"api{host}.example.com",
                    "prefix",
                    f"/v{part}/users",
                    host * 10 + part,
                )
                for host in range(10)
                for part in range(10)
            ]
        ),
        "100,000 hosts": Router(
            [(f"api{i}.example.com", "prefix", "/v2", i) for i in range(100_000)]
        ),
        "wildcard, 5 prefix lengths": Router(
            [("*.example.com", "prefix", "/v2" + "/x" * i, i) for i in range(5)]
        ),
    }


@pytest.mark.parametrize("table", tables())
def test_route(benchmark, table):
    router = tables()[table]
    run(benchmark, time_route_ns, router, b"api3.example.com", b"/v2/users/17")


@pytest.mark.parametrize("form", ["combined", "json"])
def test_log_line(benchmark, form):
    log = LogProbe(os.open(os.devnull, os.O_WRONLY), form, 65536)
    log.tick(int(time.time()))
    log.line(
        remote_addr=b"192.0.2.7",
        request_line=b"GET /some/path?a=1&b=2 HTTP/1.1",
        user_agent=AGENT,
        host=b"www.example.com",
        request_id=b"0123456789abcdef" * 2,
        route=b"users",
        upstream=b"users",
        endpoint=b"10.0.0.1:9000",
        reason=b"-",
        bytes_out=13,
        total_us=1234,
        upstream_us=999,
    )
    run(benchmark, log.time_ns)
