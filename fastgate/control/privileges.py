"""Who a child may be, and what it may do, once the sockets are bound.

Runs in: master and the command line (who, and how many files), worker, steward
(drop).
"""

import grp
import os
import pwd
import resource
from typing import TYPE_CHECKING, NamedTuple

from fastgate.config.machine import (
    LEAST_CONNECTIONS,
    LEAST_FILES,
    connections_for,
    hard_nofile,
    may_lift_files,
)
from fastgate.config.units import show
from fastgate.control.libc import forbid_dumps, forbid_new_privileges
from fastgate.control.logs import Log
from fastgate.errors import StartError

if TYPE_CHECKING:
    from fastgate.config.model import Config, Gateway


class Identity(NamedTuple):
    """What a child becomes; None = stays what it is."""

    uid: int | None
    gid: int | None


def find_user(name: str) -> tuple[int, int]:
    """Give uid and gid. Raises StartError when unknown or not permitted."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise StartError(f"there is no user {show(name)}") from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise StartError(f"cannot become user {show(name)}: not started as root")
    return entry.pw_uid, entry.pw_gid


def find_group(name: str) -> int:
    """Give the gid. Raises StartError when unknown or not permitted."""
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        raise StartError(f"there is no group {show(name)}") from None
    if os.geteuid() != 0 and os.getegid() != gid:
        raise StartError(f"cannot become group {show(name)}: not started as root")
    return gid


def find_identity(user: str | None, group: str | None) -> Identity:
    """Look the names up. Raises StartError when unknown or not permitted."""
    uid = gid = None
    if user is not None:
        uid, gid = find_user(user)
    if group is not None:
        gid = find_group(group)
    return Identity(uid, gid)


def drop(identity: Identity) -> None:
    """Become `identity` for ever, with no way to more rights and no core dump.

    Raises OSError when the system refuses; the child must not serve then.
    """
    if os.geteuid() == 0 and identity != Identity(None, None):
        os.setgroups([])
        if identity.gid is not None:
            os.setresgid(identity.gid, identity.gid, identity.gid)
        if identity.uid is not None:
            os.setresuid(identity.uid, identity.uid, identity.uid)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    forbid_new_privileges()
    # After setuid, which would set it anew. Memory holds clients' credentials.
    forbid_dumps()


def obtainable_files(wanted: int | str) -> int:
    """Say how many open files a process could have, without asking for them.

    wanted  a number, or `auto`: the hard limit
    """
    hard = hard_nofile()
    if isinstance(wanted, str) or wanted <= hard:
        return hard if isinstance(wanted, str) else wanted
    return wanted if may_lift_files(wanted) else hard


def raise_open_files(wanted: int | str, log: Log) -> int:
    """Set the limit of open files; returns what it is now.

    wanted  a number, or `auto`: the hard limit
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = hard_nofile() if isinstance(wanted, str) else wanted
    # Only root may lift the hard limit; nobody needs to lower it.
    ceiling = hard if hard == resource.RLIM_INFINITY else max(hard, goal)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (goal, ceiling))
    except (OSError, ValueError):
        log.warning(f"cannot have {goal} open files (nofile): going on with {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return goal


def listening_sockets(config: "Config") -> int:
    """Count the sockets that the master will hold: one a worker with reuseport."""
    addresses = sum(len(one.addresses) for one in config.listeners.values())
    return addresses * (config.gateway.workers if config.gateway.reuseport else 1)


def too_few_files(files: int, workers: int, sockets: int) -> str | None:
    """Say why a gateway cannot work with so few open files, or None.

    sockets  listening ones that the master holds
    """
    # The master holds every listening socket, and a channel per child.
    needed = max(LEAST_FILES, 32 + sockets + 2 * workers)
    if files >= needed:
        return None
    return (
        f"a process may have {files} open files here, and needs {needed} at least"
        f" ({sockets} listening sockets, {workers} workers, {LEAST_CONNECTIONS}"
        " connections and their endpoints): raise `ulimit -n`, LimitNOFILE= of systemd"
    )


def fitting_connections(gateway: "Gateway", files: int, log: Log) -> int:
    """Give the connections per worker that the open files really had allow.

    files  what `raise_open_files` gave
    """
    wanted = gateway.max_conns
    goal = hard_nofile() if isinstance(gateway.nofile, str) else gateway.nofile
    is_auto = wanted == connections_for(goal)
    if wanted <= files and not is_auto:
        return wanted
    fitting = connections_for(files)
    if fitting < wanted:
        log.warning(
            f"{files} open files are enough for {fitting} connections per worker,"
            f" not for max_conns = {wanted}"
        )
    return min(fitting, wanted)
