"""What this machine allows: CPUs and open files, for the `auto` values.

Runs in: every process.
"""

import os
import re
import resource
from functools import cache
from pathlib import Path

from fastgate.config.bounds import WORKERS

# A process of the gateway needs descriptors beside its connections: listening
# sockets, epoll, timerfd, logs, the channel to the master.
RESERVED_FILES = 64
# Fewer than these per worker are a mistake of a limit, not a wish.
LEAST_CONNECTIONS = 16
LEAST_FILES = RESERVED_FILES + 2 * LEAST_CONNECTIONS

# linux/capability.h
_CAP_NET_BIND_SERVICE = 10
_CAP_SYS_RESOURCE = 24

# Where no limit is set at all, enough for half a million connections.
_FILES_WITHOUT_LIMIT = 1 << 20


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def cgroup_cpus(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int:
    """Give the CPUs that the cgroup's quota allows, rounded up; 0 = no quota.

    Reads version 2 (`cpu.max`, the least of the group and its ancestors) and
    version 1 (`cpu.cfs_quota_us`).
    """
    quotas: list[float] = []
    for line in _read(proc / "self/cgroup").splitlines():
        if line.startswith("0::"):
            group = root / line[3:].strip().lstrip("/")
            while True:
                words = _read(group / "cpu.max").split()
                if len(words) == 2 and words[0].isdigit():
                    quotas.append(int(words[0]) / int(words[1]))
                if group == root or root not in group.parents:
                    break
                group = group.parent
    for controller in ("cpu", "cpu,cpuacct"):
        quota = _read(root / controller / "cpu.cfs_quota_us").strip()
        period = _read(root / controller / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return max(1, -int(-min(quotas) // 1)) if quotas else 0


def affinity_cpus() -> int:
    """Give the number of CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


def usable_cpus() -> int:
    """Give the CPUs worth one worker each: affinity, bounded by the quota.

    Never more than the shared memory has rows for.
    """
    quota = cgroup_cpus()
    cpus = min(affinity_cpus(), quota) if quota else affinity_cpus()
    return min(cpus, WORKERS)


def hard_nofile() -> int:
    """Give the hard limit of open files."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _FILES_WITHOUT_LIMIT if hard == resource.RLIM_INFINITY else hard


def _is_capable(capability: int, proc: Path) -> bool:
    found = re.search(r"CapEff:\s*([0-9a-f]+)", _read(proc / "self/status"))
    return bool(found and int(found[1], 16) >> capability & 1)


def may_lift_files(goal: int, proc: Path = Path("/proc")) -> bool:
    """Say whether this process may raise its hard limit of open files to `goal`."""
    most = _read(proc / "sys/fs/nr_open").strip()
    is_allowed = _is_capable(_CAP_SYS_RESOURCE, proc)
    return is_allowed and most.isdigit() and goal <= int(most)


def may_bind(port: int, proc: Path = Path("/proc")) -> bool:
    """Say whether this process has the right to listen on a TCP port."""
    text = _read(proc / "sys/net/ipv4/ip_unprivileged_port_start").strip()
    first = int(text) if text.isdigit() else 1024
    return port == 0 or port >= first or _is_capable(_CAP_NET_BIND_SERVICE, proc)


def connections_for(nofile: int) -> int:
    """Give the client connections that `nofile` open files can serve.

    Each may hold a second descriptor, toward its endpoint.
    """
    return max(1, (nofile - RESERVED_FILES) // 2)


def identity(proc: Path = Path("/proc"), etc: Path = Path("/etc")) -> str:
    """Give what tells this machine, or this container, from others; not to be shown.

    The host's name, the id it was installed with, the boot of its kernel, and the
    network it is in: none changes while processes come and go. Copies of one image
    share the first two; networks are numbered anew by each kernel.
    """
    network = proc / "self/ns/net"
    where = os.readlink(network) if network.is_symlink() else ""
    texts = (etc / "machine-id", proc / "sys/kernel/random/boot_id")
    return "\n".join((os.uname().nodename, *(_read(t).strip() for t in texts), where))


@cache
def own_addresses(proc: Path = Path("/proc")) -> frozenset[str]:
    """Give the addresses of this machine's interfaces, as `ipaddress` writes them.

    Read from /proc/net, so that nothing opens a socket; empty where there is none.
    """
    from ipaddress import IPv6Address  # noqa: PLC0415 (help must not pay for it)

    found: set[str] = set()
    last = ""
    for line in _read(proc / "net/fib_trie").splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[1:] == ["host", "LOCAL"] and words[0] == "/32":
            found.add(last)
    for line in _read(proc / "net/if_inet6").splitlines():
        found.add(str(IPv6Address(bytes.fromhex(line[:32]))))
    return frozenset(found)
