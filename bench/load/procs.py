"""What a tree of processes has cost so far, from /proc. Runs in: none; a bench tool.

Two clocks are read. `schedstat` counts nanoseconds on a CPU, per thread, and is what
the bench reports; utime and stime of `stat` count ticks (10 ms) and serve to split it
into user and system. Threads and processes that ended between two readings are lost
to the first clock; proxies under a steady load end none.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the parenthesised name; proc(5) counts from 1, and
# the name is its field 2.
_PPID, _UTIME, _STIME = 4 - 3, 14 - 3, 15 - 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU time of a process tree, seconds since each process began."""

    on_cpu_s: float
    user_s: float
    system_s: float

    def __sub__(self, earlier: "Spent") -> "Spent":
        return Spent(
            on_cpu_s=self.on_cpu_s - earlier.on_cpu_s,
            user_s=self.user_s - earlier.user_s,
            system_s=self.system_s - earlier.system_s,
        )


def stat_fields(text: str) -> list[str]:
    """Split a line of /proc/PID/stat, from the state on; the name may hold spaces."""
    return text.rpartition(")")[2].split()


def tree(root_pid: int) -> list[int]:
    """Give `root_pid` and all its living descendants, root first."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                fields = stat_fields((entry / "stat").read_text())
            except OSError:  # it ended while we looked
                continue
            children.setdefault(int(fields[_PPID]), []).append(int(entry.name))
    found = [root_pid]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def spent(pids: list[int]) -> Spent:
    """Sum the CPU time of these processes, every thread of them."""
    on_cpu_ns = user_ticks = system_ticks = 0
    for pid in pids:
        fields = stat_fields((_PROC / str(pid) / "stat").read_text())
        user_ticks += int(fields[_UTIME])
        system_ticks += int(fields[_STIME])
        for task in (_PROC / str(pid) / "task").iterdir():
            on_cpu_ns += int((task / "schedstat").read_text().split()[0])
    return Spent(
        on_cpu_s=on_cpu_ns / 1e9,
        user_s=user_ticks * _TICK_S,
        system_s=system_ticks * _TICK_S,
    )


def _kib(path: Path, key: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise ValueError(f"{path}: no {key}")


def pss_bytes(pids: list[int]) -> int:
    """Sum the proportional set sizes: a page shared by forks counts once."""
    return 1024 * sum(_kib(_PROC / str(p) / "smaps_rollup", "Pss:") for p in pids)


def rss_bytes(pid: int) -> int:
    """Give the resident set size of one process."""
    return 1024 * _kib(_PROC / str(pid) / "status", "VmRSS:")


def name(pid: int) -> str:
    """Give the command line of a process, for people."""
    words = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
    return words.decode(errors="replace").strip()
