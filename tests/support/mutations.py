"""Configurations as people write them: the documented ones with slips and changes.

`Mutator(...).configuration()` takes one of the examples in the documentation and
changes one to three things in it: a value, a table, a name. Some of what comes out
is good, some is not; which, is for the program to say. Everything is drawn from one
seeded generator, so a number names a configuration for ever.
"""

from __future__ import annotations

import copy
import random
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastgate.config.knob import Kind, Knob
from fastgate.config.knobs import KNOBS

Table = dict[str, Any]

_VALUES: dict[Kind, list[Any]] = {
    Kind.COUNT: [0, 1, 2, 3, 8, 96, 250, 256, 257, 5000, -1, "many", 1.5, "7"],
    Kind.DURATION: ["0s", "1ms", "250ms", 2, "30s", "5m", "24h", "25h", "9x", -1, 0.5],
    Kind.SIZE: [0, "512", "1k", "16k", "32k", "60k", "64k", "256k", "16m", "1t", -1],
    Kind.RATE: ["1k/s", "240B/s", 0, "fast"],
    Kind.PERCENT: ["0%", "20%", 100, "101%", "-1%"],
    Kind.SWITCH: [True, False, "on", "off", "perhaps"],
    Kind.CHOICE: ["nothing"],
    Kind.TEXT: ["", "text", "pass", "two words", "a\nb", "$name"],
    Kind.NETWORKS: [[], ["10.0.0.0/8"], "10.0.0.0/8, ::1", ["10.0.0.1/8"], "all"],
    Kind.METHODS: [[], ["DELETE", "FOO"], "TRACE, TRACK", ["get"], ["CONNECT"], "A/B"],
    Kind.EJECT: ["off", "5/10s", "0/1s", "1000/24h", "often"],
}
_RETRIES: list[Any] = [
    {},
    {"on": ["connect", "reset", "timeout", "bad", 429, 500, 599], "tries": 8},
    {"on": "connect, 503", "backoff": "25ms", "budget": "100%"},
    {"methods": "all", "per_try": "1ms", "backoff": "10s"},
    {"on": [503, 503]},
    {"on": [404]},
    {"on": []},
    {"on": ["status"]},
    {"tries": 9},
    {"backoff": "11s"},
    {"budget": -1},
    {"method": "all"},
    "always",
]
_NAMES = ["root", "nobody", "no-such-name"]
_MATCHES: list[Any] = [
    {},
    {"host": "a.example"},
    {"host": "*.example"},
    {"host": "A.Example."},
    {"host": "*"},
    {"host": "[::1]"},
    {"host": "a.example:80"},
    {"path": "/x"},
    {"path": "x"},
    {"path": "/%41"},
    {"path": "/a/../b"},
    {"path_prefix": "/"},
    {"path_prefix": "/a b"},
    {"path_prefix": "/a", "path": "/a"},
    {"prefix": "/"},
    "all",
]


def _rules(count: int, size: int = 1) -> Table:
    return {f"X-{n}": "v" * size for n in range(count)}


_HEADERS: list[Any] = [
    {"set": {"X-Frame-Options": "DENY"}, "remove": ["Server"]},
    {"add": {"Cache-Control": "no-store"}},
    {"set": {"Host": "other"}},
    {"set": {"X-A": "$remote_addr"}},
    {"set": {"X-A": "a\r\nX-B: b"}},
    {"set": {"X-A": "1", "x-a": "2"}},
    {"set": _rules(64)},
    {"set": _rules(65)},
    {"set": _rules(5, 8000)},
    {"add": _rules(4, 8000)},
    {"set": _rules(8, 8000)},
    {"remove": ["a b"]},
]


def examples(root: Path) -> list[Table]:
    """Every configuration that README and docs show as a file."""
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    blocks = [
        block
        for page in pages
        for block in re.findall(
            r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL
        )
    ]
    found = [tomllib.loads(block) for block in blocks]
    return [table for table in found if {"listeners", "routes"} <= table.keys()]


class Mutator:
    """Draws configurations that stay on this machine.

    directory  an empty one, for sockets and logs
    endpoint   where something answers
    port       one that is free
    """

    def __init__(
        self, bases: list[Table], seed: int, directory: Path, endpoint: str, port: int
    ) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        self.port = port
        dead = f"127.0.0.1:{port}"
        self.bases = [self._at_home(base, endpoint) for base in bases]
        self.addresses: list[Any] = [
            *("127.0.0.1:0", ":0", "0.0.0.0:0", f"127.0.0.1:{port}", f":{port}"),
            *("127.0.0.1", "nowhere", 8080, f"unix:{directory}/web"),
            *(f"unix:{directory}/none/web", "unix:web", ["127.0.0.1:0"] * 2),
            *([f":{port}", f"127.0.0.1:{port}"], f"unix:{directory}/admin_socket"),
        ]
        self.endpoints: list[Any] = [
            *(endpoint, f"{endpoint};weight=3", f"{endpoint};weight=0", dead),
            *({"address": endpoint, "weight": 256}, {"address": endpoint, "wait": 1}),
            *({"address": endpoint, "weight": -1}, f"unix:{directory}/none.sock"),
            *("http://127.0.0.1", "127.0.0.1:99999", ":80", ""),
        ]

    def configuration(self) -> Table:
        """One of the examples with one to three changes."""
        config = copy.deepcopy(self.random.choice(self.bases))
        for _ in range(self.random.choice([1, 1, 2, 3])):
            self.random.choice(self._changes())(config)
        return config

    def _at_home(self, base: Table, endpoint: str) -> Table:
        """An example whose addresses and paths are this machine's."""
        config = copy.deepcopy(base)
        gateway = config.setdefault("gateway", {})
        gateway["workers"] = 1
        for key in gateway.keys() & {"admin_socket", "access_log", "pid_file"}:
            gateway[key] = str(self.directory / key)
        for listener in config["listeners"].values():
            listener.clear()
            listener["address"] = "127.0.0.1:0"
        for upstream in config["upstreams"].values():
            upstream["endpoints"] = [endpoint]
        return config

    def _changes(self) -> list[Callable[[Table], None]]:
        settings = self._set_knob
        return [
            *(settings, settings, settings, settings, self._set_listener),
            *(self._set_endpoints, self._set_balance, self._set_match),
            *(self._set_headers, self._set_headers, self._set_route, self._set_retry),
            *(self._add_route, self._drop_something, self._misspell),
        ]

    def _one_of(self, tables: Any) -> Table:
        """A table of several, or one that leads nowhere when there is none."""
        values = list(tables.values()) if isinstance(tables, dict) else list(tables)
        values = [value for value in values if isinstance(value, dict)]
        return self.random.choice(values) if values else {}

    def _value(self, knob: Knob) -> Any:
        if knob.key in ("user", "group"):
            return self.random.choice(_NAMES)
        if knob.kind is Kind.TEXT and knob.placeholder == "PATH":
            paths = [self.directory / knob.key, self.directory / "none" / "x", "/"]
            return str(self.random.choice([*paths, *knob.words]))
        return self.random.choice([*_VALUES[knob.kind], *knob.words, *knob.choices])

    def _set_knob(self, config: Table) -> None:
        knob = self.random.choice(list(KNOBS.values()))
        table = config.get("gateway", {})
        scope = self.random.choice(["gateway", *knob.scopes])
        if scope != "gateway":
            table = self._one_of(config.get(f"{scope}s", {}))
        table[knob.key] = self._value(knob)

    def _set_listener(self, config: Table) -> None:
        chosen = self.random.choice(self.addresses)
        listener = self._one_of(config.get("listeners", {}))
        listener.clear()
        listener["addresses" if isinstance(chosen, list) else "address"] = chosen

    def _set_endpoints(self, config: Table) -> None:
        count = self.random.randint(0, 2)
        chosen = self.random.sample(self.endpoints, count)
        self._one_of(config.get("upstreams", {}))["endpoints"] = chosen

    def _set_balance(self, config: Table) -> None:
        upstream = self._one_of(config.get("upstreams", {}))
        names = ["least-connections", "random-two", "ip-hash", "hash", "least-time"]
        upstream["balance"] = self.random.choice([*names, "round_robin"])
        if self.random.random() < 0.5:
            keys = ["client", "path", "header:X-A", "cookie:a", "query"]
            upstream["hash_key"] = self.random.choice(keys)

    def _set_retry(self, config: Table) -> None:
        chosen = self.random.choice(_RETRIES)
        self._one_of(config.get("upstreams", {}))["retry"] = copy.deepcopy(chosen)

    def _set_match(self, config: Table) -> None:
        chosen = self.random.choice(_MATCHES)
        self._one_of(config.get("routes", []))["match"] = copy.deepcopy(chosen)

    def _set_headers(self, config: Table) -> None:
        key = self.random.choice(["request_headers", "response_headers"])
        chosen = self.random.choice(_HEADERS)
        self._one_of(config.get("routes", []))[key] = copy.deepcopy(chosen)

    def _set_route(self, config: Table) -> None:
        route = self._one_of(config.get("routes", []))
        key, values = self.random.choice(
            [
                ("host", ["keep", "upstream", "example.com:81", "a b"]),
                ("name", ["other", "two words", "", 5]),
                ("upstream", [*config.get("upstreams", {}), "none"]),
            ]
        )
        route[key] = self.random.choice(values)

    def _add_route(self, config: Table) -> None:
        upstreams = list(config.get("upstreams", {})) or ["none"]
        route = {"name": "added", "upstream": self.random.choice(upstreams)}
        route["match"] = copy.deepcopy(self.random.choice(_MATCHES))
        config.setdefault("routes", []).append(route)

    def _drop_something(self, config: Table) -> None:
        table = self.random.choice([config, *config.get("routes", [])])
        for part in ("listeners", "upstreams"):
            table = self.random.choice([table, self._one_of(config.get(part, {}))])
        if table:
            del table[self.random.choice(list(table))]

    def _misspell(self, config: Table) -> None:
        tables = [config, config.get("gateway", {}), *config.get("routes", [])]
        table = self.random.choice([one for one in tables if one] or [{"a": 1}])
        key = self.random.choice(list(table))
        table[key[:-1] + "x"] = table.pop(key)
