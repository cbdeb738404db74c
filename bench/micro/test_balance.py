"""Leases and picks, in nanoseconds each; the loops are in C, in the probe.

    python tests/native/setup.py -q build_ext
    pytest -s bench/micro/test_balance.py --benchmark-columns=median

A benchmark's time is that of LOOPS turns (or fewer for large groups). What one turn
costs in CPU time, the least of all rounds, is printed, and stands in `extra_info` as
`ns`; of the contended cases it is the median, for their least is a round in which
the other process did not run. They fork, and need a second core.
"""

import os
import signal
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import balance_probe as probe
import base_probe
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.regions import region_of

LOOPS = 200_000
ROUNDS = 9


def run(
    benchmark: BenchmarkFixture,
    turn: Callable[..., float],
    *args: object,
    loops: int,
    summary: Callable[[list[float]], float] = min,
) -> None:
    took: list[float] = []
    benchmark.pedantic(
        lambda: took.append(turn(*args, loops)), rounds=ROUNDS, warmup_rounds=1
    )
    benchmark.extra_info["ns"] = round(summary(took), 1)
    print(f"{benchmark.name}: {summary(took):.1f} ns")


@contextmanager
def beside(endless: Callable[[], object]) -> Iterator[None]:
    """Another process at work on the same memory meanwhile."""
    cores = os.sched_getaffinity(0)
    pid = os.fork()
    os.sched_setaffinity(0, {max(cores) if pid == 0 else min(cores)})
    if pid == 0:
        while True:
            endless()
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("company", ["alone", "contended"])
@pytest.mark.parametrize("what", ["lease-settle", "cell-only", "fetch-add"])
def test_lease(benchmark: BenchmarkFixture, what: str, company: str) -> None:
    region = region_of(16, 2)
    turn, args, other = {
        "lease-settle": (probe.time_lease_settle, (region, 0), (region, 1)),
        "cell-only": (probe.time_cells, (region, 0), (region, 1)),
        "fetch-add": (probe.time_fetch_add, (region,), (region,)),
    }[what]
    if company == "alone":
        run(benchmark, turn, *args, loops=LOOPS)
        return
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: nobody to contend with")
    with beside(lambda: turn(*other, LOOPS)):
        run(benchmark, turn, *args, loops=5 * LOOPS, summary=statistics.median)


@pytest.mark.parametrize("workers", [2, 16, 64])
def test_in_flight(benchmark: BenchmarkFixture, workers: int) -> None:
    run(benchmark, probe.time_in_flight, region_of(workers, 2), loops=LOOPS)


@pytest.mark.parametrize("n", [3, 16, 256])
@pytest.mark.parametrize("weights", ["equal", "mixed"])
@pytest.mark.parametrize("policy", list(probe.POLICIES))
def test_pick(benchmark: BenchmarkFixture, policy: str, weights: str, n: int) -> None:
    region = region_of(4, n)
    if weights == "mixed":
        for index in range(n):
            region.set_endpoint(index, weight=1 + index % 5)
    bound_percent = 125 if policy == "hash" else 0
    group = probe.Group(policy, range(n), bound_percent=bound_percent)
    run(benchmark, probe.time_pick, group, region, loops=LOOPS // n)


@pytest.mark.parametrize("size", [4, 16, 64])
def test_hash_bytes(benchmark: BenchmarkFixture, size: int) -> None:
    run(benchmark, base_probe.time_hash, b"x" * size, loops=LOOPS)


def test_random_next(benchmark: BenchmarkFixture) -> None:
    run(benchmark, base_probe.time_random, base_probe.Random(), loops=LOOPS)


@pytest.mark.parametrize("text", [b"192.168.100.200", b"2001:db8::1:2:3"])
def test_parse_address(benchmark: BenchmarkFixture, text: bytes) -> None:
    run(benchmark, base_probe.time_parse_address, text, loops=LOOPS)


@pytest.mark.parametrize("members", [10, 1000])
def test_refusal(benchmark: BenchmarkFixture, members: int) -> None:
    """What is refused costs the same, however many endpoints are full."""
    region = region_of(1, members)
    group = probe.Group("round-robin", range(members))
    for i in range(members):
        group.set_full(i)
    run(benchmark, probe.time_pick, group, region, loops=LOOPS)
