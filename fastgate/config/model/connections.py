"""The settings of `knobs/connections.py`.

Runs in: every process (imported only where configuration is read).
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo, field_validator

from fastgate.config import machine
from fastgate.config.checks import fault
from fastgate.config.model.settings import Settings, knob


def _max_conns(value: Any, info: ValidationInfo) -> Any:
    if value != "auto":
        return value
    nofile = info.data.get("nofile", "auto")
    files = machine.hard_nofile() if nofile == "auto" else nofile
    return machine.connections_for(files)


class Connections(Settings):
    """How many, and what the kernel is told of them."""

    nofile: int | Literal["auto"] = knob("nofile")
    max_conns: Annotated[int, BeforeValidator(_max_conns)] = knob("max_conns")
    reuseport: bool = knob("reuseport")
    backlog: int = knob("backlog")
    accept_batch: int = knob("accept_batch")
    tcp_nodelay: bool = knob("tcp_nodelay")
    tcp_keepalive: int = knob("tcp_keepalive")
    tcp_user_timeout: int = knob("tcp_user_timeout")
    tcp_notsent_lowat: int = knob("tcp_notsent_lowat")

    @field_validator("max_conns")
    @classmethod
    def _fits_the_files(cls, max_conns: int, info: ValidationInfo) -> int:
        nofile = info.data.get("nofile", "auto")
        if nofile != "auto" and max_conns > nofile:
            raise fault(
                f"{max_conns} connections per worker need more open files than"
                f" nofile = {nofile}"
            )
        return max_conns
