"""A loaded configuration written as a file: `--print-config`.

Runs in: the command line.

The text is valid TOML and loads to the same Config. Behind each value stands
where it came from. `auto` stays `auto`, so that the file fits other machines.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from fastgate.config.knob import Knob, Value
from fastgate.config.knobs import GROUPS, KNOBS
from fastgate.config.load import Loaded
from fastgate.config.locate import Path
from fastgate.config.model import (
    Endpoint,
    Health,
    Listener,
    Route,
    Upstream,
)
from fastgate.errors import printable

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}


def quote(text: str) -> str:
    """Write a TOML basic string."""
    parts = (
        _ESCAPES.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text
    )
    return '"' + "".join(parts) + '"'


def _value(value: object) -> str:
    """Write any value of a model."""
    if isinstance(value, Endpoint):
        if value.weight != 1:
            return _table_text({"address": value.address, "weight": value.weight})
        text = quote(value.address)
    elif isinstance(value, Health):
        text = _table_text(value.written())
    elif isinstance(value, BaseModel):
        text = _table_text(_given(value))
    elif isinstance(value, dict):
        text = _table_text(value)
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(_value(item) for item in value) + "]"
    elif isinstance(value, int):
        text = str(value).lower()  # True is an int and written true
    else:
        text = quote(str(value))
    return text


def _table_text(table: dict[str, object]) -> str:
    pairs = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in table.items())
    return "{ " + pairs + " }" if pairs else "{}"


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else quote(key)


def _given(model: BaseModel) -> dict[str, object]:
    """Give the fields that were set, in the order of the model."""
    given: dict[str, object] = {}
    for key in type(model).model_fields:
        if key in model.model_fields_set:
            value = getattr(model, key)
            write = getattr(model, "WRITERS", {}).get(key)
            given[key] = value if write is None or value is None else write(value)
    return given


def _knob_text(knob: Knob, value: Value, raw: object) -> str:
    is_auto = isinstance(raw, str) and raw.strip().lower() == "auto"
    if "auto" in knob.words and (raw is None or is_auto):
        return _value("auto")
    return _value(knob.write(value))


def render(loaded: Loaded) -> str:
    """Give the text of a file that loads to `loaded.config`."""
    return "\n".join(_lines(loaded)) + "\n"


def _lines(loaded: Loaded) -> Iterator[str]:
    config = loaded.config
    yield "# Printed by fastgate; behind each value, where it came from."
    yield ""
    yield "[gateway]"
    written = loaded.data.get("gateway", {})
    for group in GROUPS:
        yield f"# {group}"
        for knob in KNOBS.values():
            if knob.group == group:
                path: Path = ("gateway", knob.key)
                value = getattr(config.gateway, knob.key)
                text = _knob_text(knob, value, written.get(knob.key))
                yield f"{knob.key} = {text}  # {printable(loaded.origin(path))}"
    for key, table in _given(config.gateway).items():
        if key not in KNOBS:
            origin = printable(loaded.origin(("gateway", key)))
            yield f"{key} = {_value(table)}  # {origin}"
    for name, listener in config.listeners.items():
        yield from _table(loaded, ("listeners", name), listener)
    for name, upstream in config.upstreams.items():
        yield from _table(loaded, ("upstreams", name), upstream)
    for index, route in enumerate(config.routes):
        yield from _table(loaded, ("routes", index), route)


def _table(
    loaded: Loaded, path: Path, model: Listener | Upstream | Route
) -> Iterator[str]:
    yield ""
    if isinstance(model, Route):
        yield "[[routes]]"
    else:
        yield f"[{path[0]}.{_key(str(path[1]))}]"
    for key, value in _given(model).items():
        if value is None:
            continue
        knob = KNOBS.get(key)
        if knob:
            text = _value(knob.write(value))  # type: ignore[arg-type]
        elif key == "hash_bound":
            text = _value(f"{value}%")
        else:
            text = _value(value)
        yield f"{key} = {text}  # {printable(loaded.origin((*path, key)))}"
