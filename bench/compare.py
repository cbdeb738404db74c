"""Measure fastgate beside nginx, HAProxy and the floor: CPU per request, and ratios.

Runs in: none; `python bench/compare.py`. The method is in bench/README.md. Exit
codes: 0 measured, 1 an answer was wrong or (with --assert) a bar was missed, 2 usage.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load import peers, procs, report, wrk
from load.report import Case, Measured, Results, Round

PROXY_CORE, LOAD_CORE = 0, 1
WARM_UP_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is asked, and what a right answer to it is."""

    path: str = "/"
    script: str | None = None
    method: str = "GET"
    request_bytes: int | None = None
    answer_bytes: int = 13
    # The floor keeps an upstream connection per downstream one: with a new one per
    # request it would measure twice the connects of everybody else.
    has_floor: bool = True


SCENARIOS = {
    "get": Scenario(),
    "browser": Scenario(script="browser.lua"),
    "body64k": Scenario(path="/64k", answer_bytes=64 << 10),
    "body1m": Scenario(path="/1m", answer_bytes=1 << 20),
    "post16k": Scenario(script="post16k.lua", method="POST", request_bytes=16 << 10),
    "newconn": Scenario(script="newconn.lua", has_floor=False),
}
DEFAULT_CONNECTIONS: dict[str, tuple[int, ...]] = {"browser": (1, 64, 1000)}


def cases_of(
    scenarios: list[str], connections: list[int] | None, workers: int | None
) -> list[Case]:
    """Give the cases to run, in order.

    Unless told otherwise: every scenario at 64 connections and 1 worker, `browser` at
    1, 64 and 1,000, and at 64 with 2 workers as well.
    """
    cases = []
    for scenario in scenarios:
        counts = connections or DEFAULT_CONNECTIONS.get(scenario, (64,))
        cases += [
            Case(scenario=scenario, connections=count, workers=workers or 1)
            for count in counts
        ]
        if workers is None and connections is None and scenario == "browser":
            cases.append(Case(scenario=scenario, connections=64, workers=2))
    return cases


def verify(peer: peers.Peer, scenario: Scenario) -> str:
    """Ask the peer once; say what is wrong with the answer, nothing if it is right."""
    body = None if scenario.request_bytes is None else bytes(scenario.request_bytes)
    try:
        got = peers.ask(peer.port, scenario.method, scenario.path, body)
    except (OSError, http.client.HTTPException) as error:
        return f"{scenario.method} {scenario.path}: {error!r}"
    if got != (200, scenario.answer_bytes):
        status, length = got
        return f"{scenario.method} {scenario.path}: {status} with {length} bytes"
    return ""


def load(peer: peers.Peer, case: Case, seconds: int) -> "subprocess.Popen[str]":
    scenario = SCENARIOS[case.scenario]
    return wrk.start(
        peer.url(scenario.path),
        script=scenario.script,
        connections=case.connections,
        seconds=seconds,
        core=LOAD_CORE if case.workers == 1 else None,
    )


def warm_up(peer: peers.Peer, case: Case) -> int:
    """Load the peer for a second; give its memory in the middle of it, Pss bytes."""
    running = load(peer, case, WARM_UP_S)
    time.sleep(WARM_UP_S / 2)
    try:
        return procs.pss_bytes(peer.pids)
    finally:
        wrk.finish(running)


def measure(peer: peers.Peer, case: Case, seconds: int) -> Round:
    """Load the peer once, and divide the CPU time of all its processes by answers."""
    before, began_s = procs.spent(peer.pids), time.monotonic()
    result = wrk.finish(load(peer, case, seconds))
    cost, took_s = procs.spent(peer.pids) - before, time.monotonic() - began_s
    per_request = 1e6 / max(1, result.requests)
    complaint = result.complaint
    if procs.tree(peer.process.pid) != peer.pids:
        complaint = ", ".join(filter(None, [complaint, "its processes changed"]))
    return Round(
        cpu_us=cost.on_cpu_s * per_request,
        user_us=cost.user_s * per_request,
        system_us=cost.system_s * per_request,
        requests_per_s=result.requests_per_s,
        p50_us=result.p50_us,
        p99_us=result.p99_us,
        busy_percent=100 * cost.on_cpu_s / took_s,
        complaint=complaint,
    )


def run_case(case: Case, options: argparse.Namespace) -> dict[str, Measured]:
    """Start every peer afresh, then go round: A B C D A B C D ...

    Raises PeerError when a peer does not start or answers wrongly.
    """
    scenario = SCENARIOS[case.scenario]
    results = {name: Measured(case=case, peer=name) for name in options.peers}
    with contextlib.ExitStack() as stack:
        core = PROXY_CORE if case.workers == 1 else None
        upstream_ports = stack.enter_context(
            peers.backends(core=LOAD_CORE if case.workers == 1 else None)
        )
        started = []
        for name, measured in results.items():
            if name == "floor" and not scenario.has_floor:
                measured.absent = "cannot do this"
            elif not peers.is_installed(name):
                measured.absent = "not installed"
            else:
                peer = stack.enter_context(
                    peers.running(
                        name,
                        upstream_ports,
                        workers=case.workers,
                        core=core,
                        fastgate=options.fastgate,
                        flags=options.flags,
                    )
                )
                started.append(peer)
                if wrong := verify(peer, scenario):
                    raise peers.PeerError(f"{name} answers wrongly: {wrong}")
        for peer in started:
            results[peer.name].pss_bytes = warm_up(peer, case)
        for _ in range(options.rounds):
            for peer in started:
                results[peer.name].rounds.append(measure(peer, case, options.seconds))
    return results


def machine() -> dict[str, Any]:
    """Describe where this was measured."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control")
        .read_text()
        .strip(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "nginx": _version(["nginx", "-v"]),
        "haproxy": _version(["haproxy", "-v"]),
    }


def _version(argv: list[str]) -> str:
    try:
        told = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return (told.stdout + told.stderr).splitlines()[0]


def _names(known: tuple[str, ...]) -> Any:
    def split(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"{name!r} is none of {', '.join(known)}"
                )
        return names

    return split


def _counts(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line; ends the program with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument(
        "--scenario",
        type=_names(tuple(SCENARIOS)),
        default=list(SCENARIOS),
        metavar="NAME,...",
        help=f"of {', '.join(SCENARIOS)}; default all",
    )
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument(
        "--seconds", type=int, default=3, help="of one run of the load, default 3"
    )
    parser.add_argument(
        "--connections",
        type=_counts,
        metavar="N,...",
        help="default 64, and 1,64,1000 for browser",
    )
    parser.add_argument(
        "--workers",
        type=int,
        choices=(1, 2),
        help="default 1, and 2 as well for browser; with 2 nothing is pinned",
    )
    parser.add_argument(
        "--peers",
        type=_names(peers.PEERS),
        default=list(peers.PEERS),
        metavar="NAME,...",
        help=f"default {','.join(peers.PEERS)}",
    )
    parser.add_argument(
        "--fastgate",
        type=shlex.split,
        metavar="COMMAND",
        help="default: fastgate beside this Python, or python -m fastgate",
    )
    parser.add_argument(
        "--flags",
        type=shlex.split,
        default=[],
        metavar="FLAGS",
        help="more flags for fastgate, one word: --flags='--x-forwarded off'",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG")
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="one round of a second per scenario: only that all answer right",
    )
    parser.add_argument(
        "--assert",
        dest="asserts",
        action="store_true",
        help="exit with 1 when fastgate misses a bar among what was run",
    )
    options = parser.parse_args(argv)
    if options.smoke:
        options.rounds = options.seconds = 1
        options.connections = options.connections or [8]
        options.workers = options.workers or 1
    return options


def show(results: Results, options: argparse.Namespace) -> bool:
    """Print and write what was measured; tell whether all went as it must."""
    print("\n" + report.table(results))
    bars, kept = report.bars_text(results)
    if bars and "fastgate" in options.peers:
        print("\n" + bars)
    where = machine()
    if options.json:
        text = json.dumps(report.as_json(results, where), indent=2)
        options.json.write_text(text + "\n")
    if options.plot:
        title = f"{where['cpu']}, Linux {where['kernel']}, {where['date']}"
        report.plot(results, options.plot, title)
    if options.asserts and not kept:
        return False
    every = [measured for case in results.values() for measured in case.values()]
    return all(measured.valid or measured.absent for measured in every)


def main(argv: list[str]) -> int:
    options = arguments(argv)
    peers.build()
    results: Results = {}
    for case in cases_of(options.scenario, options.connections, options.workers):
        print(f"{case.title} ...", file=sys.stderr, flush=True)
        try:
            results[case] = run_case(case, options)
        except (peers.PeerError, wrk.WrkError) as error:
            print(f"compare: {case.title}: {error}", file=sys.stderr)
            return 1
    return 0 if show(results, options) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
