"""The settings of `knobs/processes.py`.

Runs in: every process (imported only where configuration is read).
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from fastgate.config import machine
from fastgate.config.model.settings import Settings, knob


def _workers(value: Any) -> Any:
    return machine.usable_cpus() if value == "auto" else value


def _pin(value: Any, info: ValidationInfo) -> Any:
    if value != "auto":
        return value
    return 1 < info.data.get("workers", 0) == machine.affinity_cpus()


class Processes(Settings):
    """How many, as whom, and how they stop."""

    workers: Annotated[int, BeforeValidator(_workers)] = knob("workers")
    pin: Annotated[bool, BeforeValidator(_pin)] = knob("pin")
    user: str | None = knob("user")
    group: str | None = knob("group")
    pid_file: str | None = knob("pid_file")
    admin_socket: str | None = knob("admin_socket")
    drain: int = knob("drain")
