"""The settings of `knobs/upstream.py`, and [upstreams.NAME] with its endpoints.

Runs in: every process (imported only where configuration is read).
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fastgate.config.address import parse_address
from fastgate.config.bounds import WEIGHT
from fastgate.config.checks import Fault, check_hash_key, fault, raise_all
from fastgate.config.knobs.upstream import BALANCES
from fastgate.config.model.health import Health
from fastgate.config.model.retry import Retry
from fastgate.config.model.settings import Settings, checked, choice, knob, listed
from fastgate.config.units import (
    either,
    format_duration,
    nearest,
    parse_count,
    parse_duration_ms,
    parse_percent,
    parse_signed,
    parse_switch,
    show,
)


class UpstreamSide(Settings):
    """Times, retries and kept connections, where an upstream says nothing else."""

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


class Endpoint(Settings):
    """One address of an upstream. `"host:port;weight=3"` is a short form."""

    address: str = Field(description='"host:port", "[::1]:port" or "unix:/path"')
    weight: int = Field(
        default=1,
        description="share of the requests, 1..256 (default: 1)",
        json_schema_extra={"minimum": 1, "maximum": WEIGHT},
    )

    @model_validator(mode="before")
    @classmethod
    def _take_short_form(cls, raw: Any) -> Any:
        if not isinstance(raw, str):
            return raw
        if " " in raw.strip() and ";" not in raw:
            # As nginx writes it.
            meant = ";".join(raw.split())
            raise fault(f"{show(raw)} is not an address: write host:port", meant)
        address, *parameters = raw.split(";")
        fields: dict[str, Any] = {"address": address}
        for parameter in parameters:
            key, equals, value = parameter.strip().partition("=")
            if key.strip() != "weight" or not equals:
                raise fault(
                    f"{show(parameter)} in {show(raw)} is not ';weight=N'",
                    "weight" if nearest(key, ["weight"]) else None,
                )
            fields["weight"] = value
        return fields

    @field_validator("address", mode="before")
    @classmethod
    def _check_address(cls, raw: Any) -> str:
        return str(checked(partial(parse_address, listening=False), raw))

    @field_validator("weight", mode="before")
    @classmethod
    def _check_weight(cls, raw: Any) -> int:
        weight = checked(partial(parse_signed, parse_count), raw)
        if not 1 <= weight <= WEIGHT:
            raise fault(f"{show(raw)} is outside 1..{WEIGHT}")
        return weight


class Upstream(Settings):
    """A named pool of endpoints; None in a setting means the gateway's value."""

    WRITERS: ClassVar[dict[str, Callable[[int], str]]] = {"slow_start": format_duration}

    balance: str = Field(
        default=BALANCES[0],
        description=f"how an endpoint is picked: {either(BALANCES)}"
        f" (default: {BALANCES[0]})",
        json_schema_extra={"enum": list(BALANCES)},
    )
    hash_key: Annotated[str, AfterValidator(check_hash_key)] = Field(
        default="client",
        description="what balance = hash hashes: client, path, header:NAME,"
        " cookie:NAME or query:NAME; by client where NAME is missing"
        " (default: client)",
    )
    hash_bound: int = Field(
        default=0,
        description="most load of one endpoint under balance = hash, as a share of"
        " the mean: what is above goes elsewhere, so not for sessions; 0: no bound"
        " (default: 0)",
        json_schema_extra={"type": ["string", "integer"]},
    )
    slow_start: int = Field(
        default=0,
        description="over which an endpoint that comes up at run time grows from a"
        " tenth of its share to all of it, 1s..1h; 0: at once (default: 0)",
        json_schema_extra={"type": ["string", "number"]},
    )
    endpoints: tuple[Endpoint, ...] = Field(description="where requests go")
    health: Health | None = Field(
        default=None,
        description="active checks of its endpoints by the steward (default: none)",
    )
    lenient: bool = Field(
        default=False,
        description="also take answers whose head has folded fields or lines that"
        " end in a bare LF; chunks are read strictly (default: off)",
        json_schema_extra={"type": ["boolean", "string"]},
    )

    connect_timeout: int | None = knob("connect_timeout", overrides=True)
    upstream_timeout: int | None = knob("upstream_timeout", overrides=True)
    between_timeout: int | None = knob("between_timeout", overrides=True)
    tunnel_timeout: int | None = knob("tunnel_timeout", overrides=True)
    deadline: int | None = knob("deadline", overrides=True)
    buffer_request: int | None = knob("buffer_request", overrides=True)
    retries: int | None = knob("retries", overrides=True)
    retry_budget: int | None = knob("retry_budget", overrides=True)
    upstream_pool: int | None = knob("upstream_pool", overrides=True)
    upstream_idle: int | None = knob("upstream_idle", overrides=True)
    upstream_max: int | None = knob("upstream_max", overrides=True)
    queue: int | None = knob("queue", overrides=True)
    queue_timeout: int | None = knob("queue_timeout", overrides=True)
    eject: str | None = knob("eject", overrides=True)
    retry: Retry = Field(
        default_factory=Retry,
        description="which failures another endpoint makes good, and how",
    )

    @field_validator("balance", mode="before")
    @classmethod
    def _check_balance(cls, raw: Any) -> str:
        return choice(BALANCES, raw)

    @field_validator("lenient", mode="before")
    @classmethod
    def _check_lenient(cls, raw: Any) -> bool:
        return checked(parse_switch, raw)

    @field_validator("hash_bound", mode="before")
    @classmethod
    def _check_hash_bound(cls, raw: Any) -> int:
        percent = checked(partial(parse_signed, parse_percent), raw)
        if percent and not 100 <= percent <= 10_000:
            raise fault(f"{show(raw)} is outside 100%..10000%, or 0: no bound")
        return percent

    @field_validator("slow_start", mode="before")
    @classmethod
    def _check_slow_start(cls, raw: Any) -> int:
        over_ms = checked(partial(parse_signed, parse_duration_ms), raw)
        if over_ms and not 1_000 <= over_ms <= 3_600_000:
            raise fault(f"{show(raw)} is outside 1s..1h, or 0: at once")
        return over_ms

    @field_validator("hash_key", "hash_bound")
    @classmethod
    def _belongs_to_hash(cls, value: Any, info: ValidationInfo) -> Any:
        balance = info.data.get("balance", "hash")
        if balance != "hash":
            raise fault(
                f"means nothing with balance = {show(balance)}, only with 'hash'"
            )
        return value

    @field_validator("retry")
    @classmethod
    def _says_it_once(cls, retry: Retry, info: ValidationInfo) -> Retry:
        for key, knob_key in (("tries", "retries"), ("budget", "retry_budget")):
            if info.data.get(knob_key) is not None and (
                getattr(retry, key) is not None
            ):
                raise fault(f"{key} contradicts {knob_key}: give one of the two")
        return retry

    @field_validator("endpoints", mode="before")
    @classmethod
    def _read_endpoints(cls, raw: Any) -> Any:
        return listed(raw)

    @field_validator("endpoints")
    @classmethod
    def _is_not_empty(cls, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        if not endpoints:
            raise fault("is empty: an upstream needs an endpoint")
        return endpoints

    @model_validator(mode="after")
    def _has_ports(self) -> "Upstream":
        if self.health is not None and self.health.port is not None:
            for endpoint in self.endpoints:
                if parse_address(endpoint.address, listening=False).is_unix:
                    text = f"port means nothing to {show(endpoint.address)}"
                    raise_all([Fault("health", text)])
        return self
