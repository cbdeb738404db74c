"""A new configuration tried before a reload: read, checked, its names resolved.

Runs in: master (Verdict), and a child of it that lives as long as the trial takes.

A file may be on a disk that stalls, a user in a directory that does not answer, a name
with a server that is gone: all that happens to the child, while the master watches its
workers. What it answers is names and lines of text; the master reads the file itself
once more, now that this is known to go well.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from fastgate.config.model import Finding
from fastgate.control.resolve import (
    AskedNames,
    Resolved,
    ask_within,
    from_plain,
    hosts_of,
)
from fastgate.errors import ConfigError, FastgateError

if TYPE_CHECKING:
    from fastgate.config.load import Loaded
    from fastgate.config.model import Config

# Of the names; and of the whole, for the master that waits.
RESOLVE_WITHIN_S = 10.0
TRIED_WITHIN_S = 20.0
# What a master reads of a child's answer: 65,536 endpoints with long names fit.
MOST_ANSWER_BYTES = 16 << 20

# What the master has for its life.
_FOR_LIFE = ("admin_socket", "pid_file", "reuseport")


class Verdict(NamedTuple):
    """What became of a trial.

    faults    every reason against it, a line each; none: it may be begun
    warnings  what there is to say all the same
    """

    faults: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    names: dict[str, Resolved] = {}  # noqa: RUF012 - never written

    @staticmethod
    def parse(answer: bytes) -> "Verdict":
        """Read what the child wrote; an answer that is none is a fault."""
        try:
            plain = json.loads(answer)
            faults = tuple(str(line) for line in plain["faults"])
            warnings = tuple(str(line) for line in plain["warnings"])
            return Verdict(faults, warnings, AskedNames(from_plain(plain["names"])))
        except (ValueError, TypeError, AttributeError, KeyError):
            return Verdict(("the process that tried the configuration ended early",))


def hold_trial(
    reread: "Callable[[], Loaded]", current: "Config", rows: int, writer: int
) -> None:
    """Be the child: try, write the verdict to a pipe and close it.

    rows  of shared memory that another generation may have
    """
    names: dict[str, Resolved] = {}
    warnings: tuple[str, ...] = ()
    faults: list[str] = []
    try:
        loaded = reread()
        warnings = loaded.warnings
        check_for_reload(loaded, current, rows)
        hosts = dict.fromkeys(
            one.host for one in hosts_of(loaded.config) if not one.is_literal
        )
        names = ask_within(list(hosts), RESOLVE_WITHIN_S)
    except FastgateError as error:
        faults = str(error).splitlines()
    except Exception as error:
        faults = [f"{type(error).__name__}: {error}"]
    with open(writer, "w", encoding="utf-8") as pipe:
        json.dump({"faults": faults, "warnings": warnings, "names": names}, pipe)


def check_for_reload(loaded: "Loaded", current: "Config", rows: int) -> None:
    """Raise ConfigError with everything that takes a restart."""
    problems = [
        loaded.problem(finding.path, finding.message, finding.suggestion)
        for finding in _needs_restart(loaded.config, current, rows)
    ]
    if problems:
        raise ConfigError(problems, loaded.subject)


def _needs_restart(new: "Config", current: "Config", rows: int) -> Iterator[Finding]:
    for key in _FOR_LIFE:
        was, wanted = getattr(current.gateway, key), getattr(new.gateway, key)
        if was != wanted:
            yield Finding(
                ("gateway", key), f"{_show(was)} -> {_show(wanted)} takes a restart"
            )
    if new.gateway.workers > rows:
        yield Finding(
            ("gateway", "workers"),
            f"{new.gateway.workers} takes a restart: this gateway has room for {rows}"
            " beside those that run",
        )


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"'{value}'"


def changes(old: "Config", new: "Config") -> list[str]:
    """Say what a new configuration changes, by the names of tables and keys."""
    lines = []
    was, now = old.gateway.model_dump(), new.gateway.model_dump()
    if keys := [key for key in now if now[key] != was[key]]:
        lines.append(f"gateway: {', '.join(keys)}")
    routes = [{route.name: route for route in one.routes} for one in (old, new)]
    tables: tuple[tuple[str, Mapping[str, object], Mapping[str, object]], ...] = (
        ("listeners", old.listeners, new.listeners),
        ("upstreams", old.upstreams, new.upstreams),
        ("routes", routes[0], routes[1]),
    )
    for what, before, after in tables:
        added = [f"+{name}" for name in after if name not in before]
        removed = [f"-{name}" for name in before if name not in after]
        changed = [n for n in after if n in before and after[n] != before[n]]
        if parts := [*added, *removed, *changed]:
            lines.append(f"{what}: {', '.join(parts)}")
    return lines
