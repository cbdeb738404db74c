"""Everything that the master prepares once, and its children inherit.

Runs in: master.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastgate._core import Plan, Region
from fastgate.config.address import Address, parse_address
from fastgate.config.model.across import covers, loop_message
from fastgate.control.channel import Logs
from fastgate.control.logs import ErrorLog, Log, open_access_log, open_log, reason
from fastgate.control.pidfile import PidFile
from fastgate.control.plan import PlanValues, make_plan
from fastgate.control.privileges import (
    Identity,
    find_identity,
    fitting_connections,
    listening_sockets,
    raise_open_files,
    too_few_files,
)
from fastgate.control.resolve import Names, StoppedError, resolve
from fastgate.control.signals import SignalQueue
from fastgate.control.sockets import BoundListener, bind_admin, bind_listeners
from fastgate.errors import StartError

if TYPE_CHECKING:
    import socket

    from fastgate.config.model import Config


@dataclass
class Estate:
    """What the master holds. Its children inherit it by fork.

    access_log_fd   -1 when there is none
    error_log_fd    of the newest file, for children: `log` may be busy with an older
    started_s       CLOCK_MONOTONIC
    cpus            those the master may run on, for `pin`
    """

    config: "Config"
    log: ErrorLog
    access_log_fd: int
    error_log_fd: int
    identity: Identity
    listeners: list[BoundListener]
    admin: "socket.socket | None"
    values: PlanValues
    plan: Plan
    region: Region
    pid_file: PidFile | None
    generation: int = 1
    started_s: float = field(default_factory=time.monotonic)
    cpus: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))

    def close_listeners(self) -> None:
        for listener in self.listeners:
            listener.close()

    def stop_listening(self) -> None:
        """In the master, for good: a successor finds paths and ports free."""
        for listener in self.listeners:
            listener.unlink()
            listener.close()

    def open_logs(self) -> tuple[Logs, tuple[int, ...]]:
        """Open both logs afresh: which could be, and their descriptors.

        A line says why one could not. Waits for the disk: not for the master.
        """
        logs, fds = Logs.NONE, []
        gateway = self.config.gateway
        targets = {Logs.ACCESS: gateway.access_log, Logs.ERROR: gateway.error_log}
        for log, target in targets.items():
            if target == "off":
                continue
            try:
                fds.append(open_log(target))
                logs |= log
            except OSError as error:
                self.log.alert(f"cannot reopen {target}: {reason(error)}")
        return logs, tuple(fds)

    def take_logs(self, logs: Logs, fds: list[int]) -> None:
        """Write to these from now on, and hand them to children; takes them over."""
        if Logs.ACCESS in logs:
            fd = fds.pop(0)
            os.dup2(fd, self.access_log_fd, inheritable=False)
            os.close(fd)
        if Logs.ERROR in logs:
            fd = fds.pop(0)
            os.dup2(fd, self.error_log_fd, inheritable=False)
            self.log.replace(fd)


def prepare(config: "Config", at_exit: ExitStack, signals: SignalQueue) -> Estate:
    """Do all that can fail, in order: limits, logs, names, sockets, memory, pid file.

    at_exit  what undoes it, last first
    Raises StartError, and StoppedError when told to stop while names are resolved;
    what was done until then is undone by `at_exit`.
    """
    gateway = config.gateway
    log = ErrorLog(gateway.error_log, gateway.log_level)
    error_log_fd = os.dup(log.fd)
    at_exit.callback(os.close, error_log_fd)
    at_exit.callback(log.close)
    files = raise_open_files(gateway.nofile, log)
    if why := too_few_files(files, gateway.workers, listening_sockets(config)):
        raise StartError(why)
    max_connections = fitting_connections(gateway, files, log)
    identity = find_identity(gateway.user, gateway.group)
    if os.geteuid() == 0 and identity.uid is None:
        log.warning("workers run as root: set user")
    access_log_fd = open_access_log(gateway.access_log)
    if access_log_fd >= 0:
        at_exit.callback(os.close, access_log_fd)
    names = _resolve_all(config, signals, log)
    listeners = bind_listeners(gateway, config.listeners, names)
    for listener in listeners:
        at_exit.callback(listener.close)
        at_exit.callback(listener.unlink)
    admin = None
    if gateway.admin_socket is not None:
        admin, admin_file = bind_admin(gateway.admin_socket)
        at_exit.callback(admin.close)
        at_exit.callback(admin_file.unlink)
    values = make_plan(config, listeners, log, names)
    _refuse_loops(values)
    values.gateway["max_conns"] = max_connections
    region, plan = _make_core(gateway.workers, values)
    pid_file = None
    if gateway.pid_file is not None:
        pid_file = PidFile(gateway.pid_file)
        at_exit.callback(pid_file.release)
    _announce(listeners, log)
    if gateway.via:
        log.info(f"Via calls this gateway {values.gateway['via_name']}")
    if gateway.access_log == "off" and os.isatty(log.fd):
        log.info("requests are not logged: --access-log stdout shows them")
    return Estate(
        config=config,
        log=log,
        access_log_fd=access_log_fd,
        error_log_fd=error_log_fd,
        identity=identity,
        listeners=listeners,
        admin=admin,
        values=values,
        plan=plan,
        region=region,
        pid_file=pid_file,
    )


def _resolve_all(config: "Config", signals: SignalQueue, log: Log) -> Names:
    """Resolve every host of listeners and endpoints, before anything listens."""
    places = [
        parse_address(text, listening=True)
        for listener in config.listeners.values()
        for text in listener.addresses
    ]
    targets = [
        parse_address(endpoint.address, listening=False)
        for upstream in config.upstreams.values()
        for endpoint in upstream.endpoints
    ]
    try:
        return resolve([*places, *targets], signals)
    except StoppedError:
        log.info("stopped before names were resolved")
        raise
    except OSError as error:
        raise StartError(f"cannot resolve names: {reason(error)}") from None


def _refuse_loops(values: PlanValues) -> None:
    """Refuse endpoints that are listeners of ours, which a name may have hidden."""
    places = [
        (listener["name"], parse_address(listener["address"], listening=True))
        for listener in values.listeners
    ]
    for upstream in values.upstreams:
        for endpoint in upstream["endpoints"]:
            if endpoint["host"] is None or endpoint["family"] == "unix":
                continue  # a path is what the configuration said, and was checked
            target = Address(endpoint["host"], endpoint["port"])
            for name, place in places:
                if covers(place, target):
                    message = loop_message(endpoint["address"], name)
                    raise StartError(f"upstream {upstream['name']}: {message}")


def _make_core(workers: int, values: PlanValues) -> tuple[Region, Plan]:
    """Make the shared memory and the plan. Raises StartError past their limits."""
    try:
        # Where no route has an upstream, a slot that nobody uses.
        region = Region.create(workers, max(1, len(values.endpoints)))
        plan = Plan(
            gateway=values.gateway,
            listeners=values.listeners,
            upstreams=values.upstreams,
            routes=values.routes,
        )
    except OSError as error:
        raise StartError(f"cannot make shared memory: {reason(error)}") from None
    except (ValueError, IndexError) as error:
        raise StartError(str(error)) from None
    for endpoint in values.endpoints:
        region.set_endpoint(endpoint["index"], weight=endpoint["weight"])
        region.set_health(endpoint["index"], "unchecked" if endpoint["up"] else "down")
    return region, plan


def _announce(listeners: list[BoundListener], log: Log) -> None:
    for listener in listeners:
        log.info(f"listening on {listener.url} (listener {listener.name})")
