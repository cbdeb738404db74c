"""Who a child may be, and what it may do, once the sockets are bound.

Runs in: master (find_identity, raise_open_files), worker, steward (drop).
"""

import grp
import os
import pwd
import resource
from typing import NamedTuple

from fastgate.config.machine import hard_nofile
from fastgate.control.libc import forbid_dumps, forbid_new_privileges
from fastgate.control.logs import Log
from fastgate.errors import StartError


class Identity(NamedTuple):
    """What a child becomes; None = stays what it is."""

    uid: int | None
    gid: int | None


def find_identity(user: str | None, group: str | None) -> Identity:
    """Look the names up. Raises StartError when unknown or not permitted."""
    uid = gid = None
    try:
        if user is not None:
            entry = pwd.getpwnam(user)
            uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        raise StartError(f"there is no user '{user}'") from None
    try:
        if group is not None:
            gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise StartError(f"there is no group '{group}'") from None
    if os.geteuid() != 0 and (
        uid not in (None, os.geteuid()) or gid not in (None, os.getegid())
    ):
        wanted = f"user '{user}'" if user is not None else f"group '{group}'"
        raise StartError(f"cannot become {wanted}: not started as root")
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
        log.warning(f"cannot have {goal} open files: going on with {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return goal
