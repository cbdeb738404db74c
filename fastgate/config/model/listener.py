"""[listeners.NAME]: where clients connect.

Runs in: every process (imported only where configuration is read).
"""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from fastgate.config.address import parse_address
from fastgate.config.checks import fault
from fastgate.config.model.settings import Settings, checked, choice, knob, listed


def _check_listener_address(raw: object) -> str:
    return str(checked(partial(parse_address, listening=True), raw))


_ListenerAddress = Annotated[
    str, BeforeValidator(_check_listener_address), WithJsonSchema({"type": "string"})
]


class Listener(Settings):
    """One or more addresses that clients connect to.

    `address` in a file is one element of `addresses`.
    """

    addresses: tuple[_ListenerAddress, ...] = Field(
        description='"host:port", "[::]:port", ":port" (every IPv4 address) or'
        ' "unix:/path"; `address` for a single one',
    )
    protocol: Literal["http"] = Field(
        default="http", description="what clients speak (default: http)"
    )
    refused_methods: tuple[str, ...] | None = knob("refused_methods", overrides=True)

    @model_validator(mode="before")
    @classmethod
    def _take_one_address(cls, raw: Any) -> Any:
        # With both given `address` stays and is refused as the second.
        if isinstance(raw, dict) and "address" in raw and "addresses" not in raw:
            raw = {**raw, "addresses": [raw["address"]]}
            del raw["address"]
        return raw

    @field_validator("addresses", mode="before")
    @classmethod
    def _read_addresses(cls, raw: Any) -> Any:
        return listed(raw)

    @field_validator("addresses")
    @classmethod
    def _is_somewhere(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if not addresses:
            raise fault("is empty: a listener needs an address")
        return addresses

    @field_validator("protocol", mode="before")
    @classmethod
    def _check_protocol(cls, raw: Any) -> str:
        return choice(("http",), raw)
