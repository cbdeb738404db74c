"""What every table of the model is made of: a frozen base, and fields from knobs.

Runs in: every process (imported only where configuration is read).
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from fastgate.config.checks import check_name, fault
from fastgate.config.knob import Kind, read_choice
from fastgate.config.knobs import KNOBS
from fastgate.config.units import BadValueError

# pydantic asks every package installed here whether it extends pydantic, and none
# may change what a configuration means.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

Name = Annotated[str, BeforeValidator(check_name), WithJsonSchema({"type": "string"})]

_Read = TypeVar("_Read")

_JSON_TYPES: dict[Kind, list[str]] = {
    Kind.COUNT: ["integer", "string"],
    Kind.DURATION: ["string", "number"],
    Kind.SIZE: ["string", "integer"],
    Kind.RATE: ["string", "integer"],
    Kind.PERCENT: ["string", "integer"],
    Kind.SWITCH: ["boolean", "string"],
    Kind.CHOICE: ["string"],
    Kind.TEXT: ["string"],
    Kind.NETWORKS: ["array", "string"],
    Kind.METHODS: ["array", "string"],
    Kind.EJECT: ["string"],
}


def knob(
    key: str,
    *,
    overrides: bool = False,
    factory: Callable[[dict[str, Any]], Any] | None = None,
) -> Any:
    """Make the field of a row.

    overrides  its default is None, meaning the gateway's value
    factory    makes the default from the fields before it
    """
    row = KNOBS[key]

    def describe(schema: dict[str, Any]) -> None:
        description = schema.get("description")
        schema.clear()
        types = _JSON_TYPES[row.kind]
        schema.update(
            description=description, type=types if len(types) > 1 else types[0]
        )
        if row.choices:
            schema["enum"] = list(row.choices)
        if not overrides and row.default is not None:
            schema["default"] = row.default
        schema["x-metavar"] = row.metavar
        if not overrides:
            schema["x-flag"] = row.flag
            schema["x-env"] = row.variable

    if overrides:
        return Field(
            default=None,
            description=f"{row.help} (default: the gateway's {key})",
            json_schema_extra=describe,
        )
    description = f"{row.help} (default: {row.default_text})"
    if factory is not None:
        return Field(
            default_factory=factory, description=description, json_schema_extra=describe
        )
    # `auto` is resolved by the field's own validator, which defaults skip unless
    # asked.
    is_auto = row.default == "auto"
    default: Any = row.default
    if not is_auto and default is not None:
        default = row.read(default)
    return Field(
        default=default,
        description=description,
        validate_default=is_auto,
        json_schema_extra=describe,
    )


class Settings(BaseModel):
    """Base: frozen, no unknown key, knobs read by their own rules."""

    # Config holds every table, and its own validator is all that loading needs:
    # those of the tables are built when somebody asks one alone.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    # How a file writes fields that are no knobs, and whose numbers have a unit.
    WRITERS: ClassVar[dict[str, Callable[[int], str]]] = {}

    @field_validator("*", mode="before")
    @classmethod
    def _read_knob(cls, raw: Any, info: ValidationInfo) -> Any:
        knob = KNOBS.get(info.field_name or "")
        if knob is None or raw is None:
            return raw
        return checked(knob.read, raw)


def checked(read: Callable[[object], _Read], raw: object) -> _Read:
    """Read a value in a validator: what is bad is a fault of the field."""
    try:
        return read(raw)
    except BadValueError as bad:
        raise fault(str(bad), bad.suggestion) from None


def choice(choices: tuple[str, ...], raw: object) -> str:
    """Read one word of several in a validator."""
    return checked(partial(read_choice, choices), raw)


def listed(raw: Any) -> Any:
    """Take `a,b` for a list, in a validator."""
    if isinstance(raw, str):
        return tuple(part for part in raw.split(",") if part.strip())
    return raw
