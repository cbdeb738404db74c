"""Run wrk and read what it printed. Runs in: none; a tool of the bench.

Times that leave this module are microseconds, rates are per second.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_UNIT_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_TIME = re.compile(r"([\d.]+)(us|ms|s|m|h)$")


class WrkError(Exception):
    """wrk did not run, or printed something this module cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrkResult:
    """One run of wrk.

    `socket_errors` sums connect, read, write and timeout; `bad_statuses` counts
    answers that were neither 2xx nor 3xx. Either makes the run worthless.
    """

    requests: int
    seconds: float
    requests_per_s: float
    p50_us: float
    p99_us: float
    socket_errors: int = 0
    bad_statuses: int = 0

    @property
    def complaint(self) -> str:
        """Why this run must not be used; empty when it may."""
        said = []
        if self.socket_errors:
            said.append(f"{self.socket_errors} socket errors")
        if self.bad_statuses:
            said.append(f"{self.bad_statuses} answers not 2xx")
        if not self.requests:
            said.append("no answer at all")
        return ", ".join(said)


def time_us(text: str) -> float:
    """Read a time as wrk prints it: `812.00us`, `3.41ms`, `1.02s`, `0.00m`."""
    found = _TIME.match(text)
    if found is None:
        raise WrkError(f"not a time of wrk: {text!r}")
    return float(found[1]) * _UNIT_US[found[2]]


def parse(output: str) -> WrkResult:
    """Read the report that `wrk --latency` prints.

    Raises WrkError when a figure is missing.
    """

    def find(pattern: str) -> re.Match[str]:
        found = re.search(pattern, output, re.MULTILINE)
        if found is None:
            raise WrkError(f"no {pattern!r} in what wrk printed:\n{output}")
        return found

    total = find(r"^\s*(\d+) requests in ([\d.]+\w+),")
    errors = re.search(r"Socket errors: (.*)$", output, re.MULTILINE)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return WrkResult(
        requests=int(total[1]),
        seconds=time_us(total[2]) / 1e6,
        requests_per_s=float(find(r"^Requests/sec:\s*([\d.]+)")[1]),
        p50_us=time_us(find(r"^\s*50%\s+(\S+)")[1]),
        p99_us=time_us(find(r"^\s*99%\s+(\S+)")[1]),
        socket_errors=sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0,
        bad_statuses=int(bad[1]) if bad else 0,
    )


def start(
    url: str,
    *,
    script: str | None,
    connections: int,
    seconds: int,
    threads: int = 1,
    core: int | None = None,
) -> "subprocess.Popen[str]":
    """Start wrk against `url`; `script` names a .lua file beside this module."""
    argv = ["taskset", "-c", str(core)] if core is not None else []
    argv += ["wrk", "--latency", "--timeout", "10s", f"-t{min(threads, connections)}"]
    argv += [f"-c{connections}", f"-d{seconds}s"]
    if script is not None:
        argv += ["-s", str(_HERE / script)]
    return subprocess.Popen(
        [*argv, url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(wrk: "subprocess.Popen[str]") -> WrkResult:
    """Wait for a started wrk and read its report."""
    output, _ = wrk.communicate()
    if wrk.returncode:
        raise WrkError(f"wrk exited with {wrk.returncode}:\n{output}")
    return parse(output)
