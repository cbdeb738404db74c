"""[gateway]: settings of the whole program, defaults of upstreams and routes.

Runs in: every process (imported only where configuration is read).
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo, field_validator

from fastgate.config import machine
from fastgate.config.checks import check_header_value, fault
from fastgate.config.knob import parse_eject
from fastgate.config.knobs import KNOBS
from fastgate.config.model.settings import Settings, knob
from fastgate.config.units import parse_size_bytes


def _workers(value: Any) -> Any:
    return machine.usable_cpus() if value == "auto" else value


def _pin(value: Any, info: ValidationInfo) -> Any:
    if value != "auto":
        return value
    return 1 < info.data.get("workers", 0) == machine.affinity_cpus()


def _max_conns(value: Any, info: ValidationInfo) -> Any:
    if value != "auto":
        return value
    nofile = info.data.get("nofile", "auto")
    files = machine.hard_nofile() if nofile == "auto" else nofile
    return machine.connections_for(files)


def _head_or_less(data: dict[str, Any]) -> int:
    """Give the default of max_target: a target is part of the head."""
    default = parse_size_bytes(KNOBS["max_target"].default)
    max_header: int = data.get("max_header", default)
    return min(default, max_header)


class Gateway(Settings):
    """Settings of the whole program, and the defaults of upstreams and routes."""

    workers: Annotated[int, BeforeValidator(_workers)] = knob("workers")
    pin: Annotated[bool, BeforeValidator(_pin)] = knob("pin")
    user: str | None = knob("user")
    group: str | None = knob("group")
    pid_file: str | None = knob("pid_file")
    admin_socket: str | None = knob("admin_socket")
    drain: int = knob("drain")

    nofile: int | Literal["auto"] = knob("nofile")
    max_conns: Annotated[int, BeforeValidator(_max_conns)] = knob("max_conns")
    reuseport: bool = knob("reuseport")
    backlog: int = knob("backlog")
    accept_batch: int = knob("accept_batch")
    tcp_nodelay: bool = knob("tcp_nodelay")
    tcp_keepalive: int = knob("tcp_keepalive")
    tcp_user_timeout: int = knob("tcp_user_timeout")
    tcp_notsent_lowat: int = knob("tcp_notsent_lowat")

    keepalive: int = knob("keepalive")
    keepalive_requests: int = knob("keepalive_requests")
    half_close: bool = knob("half_close")
    trace: bool = knob("trace")
    header_timeout: int = knob("header_timeout")
    body_timeout: int = knob("body_timeout")
    min_rate: int = knob("min_rate")
    send_timeout: int = knob("send_timeout")
    min_send_rate: int = knob("min_send_rate")
    lingering_time: int = knob("lingering_time")
    lingering_timeout: int = knob("lingering_timeout")
    max_header: int = knob("max_header")
    max_headers: int = knob("max_headers")
    max_target: int = knob("max_target", factory=_head_or_less)
    max_body: int = knob("max_body")
    buffer_response: int = knob("buffer_response")

    connect_timeout: int = knob("connect_timeout")
    upstream_timeout: int = knob("upstream_timeout")
    between_timeout: int = knob("between_timeout")
    tunnel_timeout: int = knob("tunnel_timeout")
    deadline: int = knob("deadline")
    max_response_header: int = knob("max_response_header")
    max_response_headers: int = knob("max_response_headers")
    buffer_request: int = knob("buffer_request")
    retries: int = knob("retries")
    retry_budget: int = knob("retry_budget")
    upstream_pool: int = knob("upstream_pool")
    upstream_idle: int = knob("upstream_idle")
    upstream_max: int = knob("upstream_max")
    queue: int = knob("queue")
    queue_timeout: int = knob("queue_timeout")
    eject: str = knob("eject")

    access_log: str = knob("access_log")
    access_log_format: Literal["combined", "combined-plus", "json"] = knob(
        "access_log_format"
    )
    access_log_buffer: int = knob("access_log_buffer")
    access_log_flush: int = knob("access_log_flush")
    error_log: str = knob("error_log")
    log_level: Literal["debug", "info", "warning", "error"] = knob("log_level")

    server_header: str = knob("server_header")
    via: bool = knob("via")
    forwarded: bool = knob("forwarded")
    x_forwarded: bool = knob("x_forwarded")
    request_id: bool = knob("request_id")
    trusted_proxies: tuple[str, ...] = knob("trusted_proxies")
    underscores: Literal["safe", "drop", "pass"] = knob("underscores")
    ambiguous_paths: Literal["routes", "reject", "keep"] = knob("ambiguous_paths")

    @property
    def eject_failures(self) -> int:
        """Failed requests in a row that eject an endpoint; 0 = never."""
        return parse_eject(self.eject)[0]

    @property
    def eject_for(self) -> int:
        """How long an endpoint is skipped, ms."""
        return parse_eject(self.eject)[1]

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

    @field_validator("max_target")
    @classmethod
    def _fits_the_head(cls, max_target: int, info: ValidationInfo) -> int:
        max_header = info.data.get("max_header")
        if max_header is not None and max_target > max_header:
            raise fault(
                f"{max_target} bytes are more than the whole head may have"
                f" (max_header = {max_header})"
            )
        return max_target

    @field_validator("server_header")
    @classmethod
    def _is_a_header_value(cls, text: str) -> str:
        check_header_value("Server", text)
        return text
