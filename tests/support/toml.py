"""Write a configuration file from plain dictionaries."""

from __future__ import annotations

import json
from typing import Any

# The least configuration that is whole; a test adds what it is about.
SMALL = """\
[listeners.web]
address = "127.0.0.1:8080"
[upstreams.users]
endpoints = ["127.0.0.1:9001"]
[[routes]]
name = "users"
upstream = "users"
"""


def value(item: Any) -> str:
    """One TOML value; dictionaries become inline tables."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int | float):
        return repr(item)
    if isinstance(item, str):
        return json.dumps(item)
    if isinstance(item, list | tuple):
        return "[" + ", ".join(value(one) for one in item) + "]"
    pairs = ", ".join(f"{json.dumps(key)} = {value(one)}" for key, one in item.items())
    return "{ " + pairs + " }"


def document(config: dict[str, Any]) -> str:
    """A file with tables `[a]`, `[a.b]` and `[[a]]` as the nesting asks for.

    A table whose values are all tables is a table of tables; a list of tables is
    an array of tables; everything else is a key of its table.
    """
    out: list[str] = []
    for name, section in config.items():
        if isinstance(section, list):
            for one in section:
                out += [f"[[{name}]]", *_keys(one), ""]
        elif section and all(isinstance(one, dict) for one in section.values()):
            for key, one in section.items():
                out += [f"[{name}.{json.dumps(key)}]", *_keys(one), ""]
        else:
            out += [f"[{name}]", *_keys(section), ""]
    return "\n".join(out)


def _keys(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {value(one)}" for key, one in table.items()]
