"""A configuration from a file, the environment and flags.

Runs in: master (at start and reload) and the command line.

Order: flag > variable > file > default. Everything wrong is found in one go
and reported as Problems: those of the file in its order, then those of
variables and flags, which are named in place of a line.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fastgate.config.knobs import KNOBS
from fastgate.config.locate import Path, Places
from fastgate.config.model import (
    Config,
    Endpoint,
    Finding,
    Gateway,
    HeaderRules,
    Health,
    Listener,
    Match,
    Redirect,
    Respond,
    Retry,
    Route,
    RouteView,
    Upstream,
    cross_check,
    warnings,
)
from fastgate.config.nginx import NGINX_NAMES
from fastgate.config.parse import Parsed, parse
from fastgate.config.quick import QUICK, QUICK_NAME
from fastgate.config.units import nearest, show
from fastgate.errors import ConfigError, Problem, file_order

_ModelT = TypeVar("_ModelT", bound=BaseModel)

COMMAND_LINE = "command line"

# Variables of the program that are no settings.
_OTHER_VARIABLES = (
    "FASTGATE_CONFIG",
    "FASTGATE_DEBUG",
    "FASTGATE_SANITIZE",
    "FASTGATE_TRACEBACK",
)

_REQUEST, _RESPONSE = "request_headers", "response_headers"

# Beyond this a file is a mistake (a log, a device) rather than a configuration.
_LARGEST_FILE_BYTES = 16 << 20

# What pydantic says on top of a fault that is reported by itself: the cross
# checks (found again, each with its place) and defaults that need other fields.
_ECHOES = ("fastgate_across", "default_factory_not_called")

# A longer one, made from a long text, would bury the message.
_LONGEST_SUGGESTION = 80

_WHAT_IS_WANTED = {
    "string_type": "a text",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
    "bool_type": "true or false",
    "int_type": "a whole number",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where its values came from.

    data      the merged tables as they were written, before parsing
    origins   key path -> `FILE:LINE`, `--flag` or `FASTGATE_X`; a path that is
              not here is a default, or part of one that is
    problem   makes the Problem of a key path, a message and a suggestion
    warnings  lines worth telling the user that are no faults
    """

    config: Config
    subject: str
    data: Mapping[str, Any]
    origins: Mapping[Path, str]
    problem: Callable[[Path, str, str | None], Problem]
    warnings: tuple[str, ...] = ()

    def origin(self, path: Path) -> str:
        """Say where the value at `path` came from; `default` if nowhere."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path[:-1]
        return "default"


def load(
    path: str | None,
    flags: Mapping[str, str | Sequence[str]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Build a Config.

    path     the TOML file, or None
    flags    knob key or quick-start key -> text as given on the command line;
             a quick-start key may have several
    environ  the variables to read; None = the process's own; an empty one
             counts as not set
    Raises ConfigError with every problem found.
    """
    loader = _Loader(path)
    loader.overlay(os.environ if environ is None else environ, flags or {})
    return loader.finish()


def read_text(path: str) -> str:
    """Read a configuration file. Raises ConfigError saying why it cannot."""
    try:
        with open(path, "rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = Problem(path, 0, 0, f"cannot be read: {reason}")
        raise ConfigError([problem], path) from None
    except ValueError:
        problem = Problem(show(path), 0, 0, "is not a file name")
        raise ConfigError([problem], show(path)) from None
    if len(raw) > _LARGEST_FILE_BYTES:
        message = f"is larger than {_LARGEST_FILE_BYTES >> 20} MiB"
        raise ConfigError([Problem(path, 0, 0, message)], path)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        problem = Problem(path, line, column, "is not UTF-8 text")
        raise ConfigError([problem], path) from None


class _Loader:
    """One loading: the tables merged so far and where they came from."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.subject = path or COMMAND_LINE
        self.parsed: Parsed = parse("" if path is None else read_text(path))
        self.data: dict[str, Any] = self.parsed.data
        self.overlaid: dict[Path, str] = {}
        self.warnings: list[str] = []
        self.problems: list[Problem] = []

    @property
    def places(self) -> Places:
        return self.parsed.places

    # -- merging

    def overlay(
        self,
        environ: Mapping[str, str],
        flags: Mapping[str, str | Sequence[str]],
    ) -> None:
        """Lay variables, then flags, over the file."""
        for knob in KNOBS.values():
            if environ.get(knob.variable):
                self._set_knob(knob.key, environ[knob.variable], knob.variable)
            if knob.key in flags:
                self._set_knob(knob.key, flags[knob.key], knob.flag)
        for quick in QUICK.values():
            if environ.get(quick.variable):
                self._set_quick(quick.key, [environ[quick.variable]], quick.variable)
            if quick.key in flags:
                given = flags[quick.key]
                values = [given] if isinstance(given, str) else list(given)
                self._set_quick(quick.key, values, quick.flag)
        self._warn_of_variables(environ)

    def _table(self, *path: str) -> dict[str, Any]:
        """Give the table at `path`, made if missing.

        Where the file holds something else there, a table that goes nowhere:
        what the file holds is reported as wrong.
        """
        table: Any = self.data
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                return {}
        return table  # type: ignore[no-any-return]

    def _set_knob(self, key: str, raw: str | Sequence[str], origin: str) -> None:
        self._table("gateway")[key] = raw
        self.overlaid["gateway", key] = origin

    def _set_quick(self, key: str, values: list[str], origin: str) -> None:
        quick = QUICK[key]
        if not quick.is_list and not self._has_quick_upstream():
            message = f"there is no upstream {show(QUICK_NAME)}: add --upstream ADDRESS"
            self.problems.append(Problem(origin, 0, 0, message))
            return
        table = self._table(quick.table, QUICK_NAME)
        if quick.is_list:
            # `address` would contradict the `addresses` set here.
            table.pop("address", None)
            parts = [part for value in values for part in value.split(",")]
            table[quick.target] = [part.strip() for part in parts if part.strip()]
        else:
            table[quick.target] = values[-1]
        self.overlaid[quick.table, QUICK_NAME, quick.target] = origin
        if key == "upstream":
            self._add_route(origin)

    def _has_quick_upstream(self) -> bool:
        upstreams = self.data.get("upstreams")
        return isinstance(upstreams, dict) and QUICK_NAME in upstreams

    def _add_route(self, origin: str) -> None:
        routes = self.data.setdefault("routes", [])
        if not isinstance(routes, list):
            return
        if any(isinstance(r, dict) and r.get("name") == QUICK_NAME for r in routes):
            return
        self.overlaid["routes", len(routes)] = origin
        routes.append({"name": QUICK_NAME, "upstream": QUICK_NAME})

    def _warn_of_variables(self, environ: Mapping[str, str]) -> None:
        # Others may own names that begin alike (Kubernetes makes
        # FASTGATE_SERVICE_HOST), so only near misses are worth a line.
        known = [knob.variable.lower() for knob in KNOBS.values()]
        known += [quick.variable.lower() for quick in QUICK.values()]
        for name in sorted(environ):
            if not name.startswith("FASTGATE_") or name in _OTHER_VARIABLES:
                continue
            if name.lower() in known and name.isupper():
                continue
            found = nearest(name, known, cutoff=0.85)
            if found:
                self.warnings.append(
                    f"{name}: no such variable; did you mean '{found.upper()}'?"
                )

    # -- checking

    def finish(self) -> Loaded:
        for line, column, message in self.parsed.faults:
            self.problems.append(Problem(self.subject, line, column, message))
        config = None
        try:
            config = Config.model_validate(self.data)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=True):
                self._report_detail(detail)
        # A text of which nothing could be read is another program's, or none.
        is_read = bool(self.data) or not self.parsed.faults
        if config is None and is_read and not self.parsed.lost_a_header:
            for finding in self._findings():
                self._report(finding.path, finding.message, finding.suggestion)
        if config is None or self.problems:
            raise ConfigError(sorted(set(self.problems), key=file_order), self.subject)
        origins = dict(self._origins(self.data, ()))
        for path, why, _ in warnings(config.gateway, config.listeners, config.views):
            self.warnings.append(str(self.problem(path, why)))
        told = tuple(self.warnings)
        return Loaded(config, self.subject, self.data, origins, self.problem, told)

    def _origins(self, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
        if path in self.overlaid:
            yield path, self.overlaid[path]
            return
        # Of the tables themselves only those inside another, as `match`.
        is_value = len(path) > (1 if path[:1] == ("gateway",) else 2)
        if is_value and path in self.places:
            yield path, f"{self.subject}:{self.places[path][0]}"
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from self._origins(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from self._origins(inner, (*path, index))

    def problem(
        self, path: Path, message: str, suggestion: str | None = None
    ) -> Problem:
        """Make the problem of a key: with its flag, its variable or its place."""
        outer = path
        while outer:
            if outer in self.overlaid:
                return Problem(self.overlaid[outer], 0, 0, message, suggestion)
            outer = outer[:-1]
        if self.path is None:
            return Problem(COMMAND_LINE, 0, 0, message, suggestion)
        line, column = self.places[path]
        named = f"{_key_name(self.places.nearest(path))}{message}"
        return Problem(self.path, line, column, named, suggestion)

    def _report(self, path: Path, message: str, suggestion: str | None) -> None:
        self.problems.append(self.problem(path, message, suggestion))

    def _report_detail(self, detail: ErrorDetails) -> None:
        path: Path = tuple(part for part in detail["loc"] if part != "[key]")
        kind = detail["type"]
        context = detail.get("ctx", {})
        if kind in _ECHOES:
            return
        if kind == "fastgate":
            suggestion = context.get("suggestion") or None
            if suggestion and len(suggestion) > _LONGEST_SUGGESTION:
                suggestion = None
            self._report(path, str(context["text"]), suggestion)
        elif kind == "extra_forbidden":
            self._report_unknown_key(path)
        elif kind == "missing":
            # A line that could not be read may have held it.
            if not self.parsed.faults:
                message = f"missing key {show(path[-1])} in {_table_name(path[:-1])}"
                self._report_bare(path[:-1], message)
        elif kind in _WHAT_IS_WANTED:
            message = f"{show(detail['input'])} is not {_WHAT_IS_WANTED[kind]}"
            self._report(path, message, None)
        else:
            self._report(path, detail["msg"], None)

    def _report_bare(
        self, path: Path, message: str, suggestion: str | None = None
    ) -> None:
        """Report at a path without putting its key before the message."""
        if self.path is None:
            self._report(path, message, suggestion)
            return
        line, column = self.places[path]
        self.problems.append(Problem(self.path, line, column, message, suggestion))

    def _report_unknown_key(self, path: Path) -> None:
        *outer, key = path
        table = tuple(outer)
        if key == "address" and table[:1] == ("listeners",):
            message = "contradicts addresses: give one of the two"
            self._report(path, message, None)
            return
        known = _keys_of(table)
        suggestion = NGINX_NAMES.get(str(key))
        if suggestion not in known:
            suggestion = nearest(str(key), known)
        message = f"unknown key {show(key)} in {_table_name(table)}"
        if suggestion is None or suggestion == key:
            suggestion = None
            if table != ("gateway",) and key in KNOBS:
                message += "; it belongs in [gateway]"
        self._report_bare(path, message, suggestion)

    def _findings(self) -> Iterator[Finding]:
        """Check across tables, as far as each can be read by itself."""
        listeners = self.data.get("listeners", {})
        upstreams = self.data.get("upstreams", {})
        routes = self.data.get("routes", [])
        if not (
            isinstance(listeners, dict)
            and isinstance(upstreams, dict)
            and isinstance(routes, list)
        ):
            return
        # Only the parts that the checks read, so that a fault elsewhere in a
        # table does not hide them.
        places = {
            name: _try(Listener, _part(raw, "address", "addresses"))
            for name, raw in listeners.items()
        }
        groups = {
            name: _try(Upstream, _part(raw, "endpoints"))
            for name, raw in upstreams.items()
        }
        views = [
            RouteView(
                _text(route, "name"),
                _text(route, "upstream"),
                _try(Match, _part(route, "match").get("match", {})),
                _try(HeaderRules, _part(route, _REQUEST).get(_REQUEST, {})),
                _try(HeaderRules, _part(route, _RESPONSE).get(_RESPONSE, {})),
                _text(route, "ambiguous_paths"),
                _try(Redirect, _part(route, "redirect").get("redirect")),
            )
            for route in routes
        ]
        gateway = _try(Gateway, self.data.get("gateway", {}))
        yield from cross_check(gateway, places, groups, views)


def _try(model: type[_ModelT], raw: Any) -> _ModelT | None:
    try:
        return model.model_validate(raw)
    except ValidationError:
        return None


def _part(raw: Any, *keys: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        return {}
    return {key: raw[key] for key in keys if key in raw}


def _text(raw: Any, key: str) -> str | None:
    value = raw.get(key) if isinstance(raw, dict) else None
    return value if isinstance(value, str) else None


def _key_name(path: Path) -> str:
    """Give `key: ` for a message, the index of a list after it."""
    if path[-2:-1] in (("set",), ("add",)):
        path = path[:-1]  # messages name the header field themselves
    name = ""
    for part in reversed(path):
        if isinstance(part, str):
            return f"{part}{name}: "
        name = f"[{part}]{name}"
    return ""


def _table_name(path: Path) -> str:
    """Name a table as the file would: `[upstreams.a]`, `match of [[routes]]`."""
    if not path:
        return "the top of the file"
    if path[0] == "routes":
        head, rest = "[[routes]]", path[2:]
    elif path[0] in ("listeners", "upstreams"):
        head, rest = f"[{'.'.join(map(str, path[:2]))}]", path[2:]
    else:
        head, rest = f"[{path[0]}]", path[1:]
    inner = [str(part) for part in rest if isinstance(part, str)]
    return f"{'.'.join(inner)} of {head}" if inner else head


def _keys_of(table: Path) -> list[str]:
    """Give the keys that the table at a path may have."""
    model: type[BaseModel]
    if not table:
        model = Config
    elif table[0] == "gateway":
        model = Gateway
    elif table[0] == "listeners":
        return ["address", *Listener.model_fields]
    elif table[0] == "upstreams":
        inner: dict[str, type[BaseModel]] = {
            "endpoints": Endpoint,
            "health": Health,
            "retry": Retry,
        }
        model = inner.get(str(table[2]), Upstream) if table[2:] else Upstream
    elif "match" in table[2:]:
        model = Match
    elif "respond" in table[2:]:
        model = Respond
    elif "redirect" in table[2:]:
        model = Redirect
    elif "request_headers" in table[2:] or "response_headers" in table[2:]:
        model = HeaderRules
    else:
        model = Route
    return list(model.model_fields)
