"""What a knob is: one scalar setting, and how its value is read and written.

Runs in: every process. The knobs themselves stand in `knobs/`.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from fastgate.config.methods import read_methods
from fastgate.config.units import (
    BadValueError,
    either,
    format_duration,
    format_rate,
    format_size,
    nearest,
    parse_count,
    parse_duration_ms,
    parse_percent,
    parse_rate,
    parse_signed,
    parse_size_bytes,
    parse_switch,
    show,
)

Value = int | bool | str | tuple[str, ...] | None


# The most a number may be where nothing else bounds it: it must fit the signed
# 32-bit fields of the data plane.
_NO_BOUND = 1 << 30
DAY_MS = 86_400_000
# A file of such a name was never meant: `access_log = "on"`.
_NO_PATHS = frozenset({"-", "on", "true", "yes", "no", "false", "none", "off"})


class Kind(Enum):
    """What a knob's value is; the value of the member is its metavar in help."""

    COUNT = "N"
    DURATION = "DURATION"
    SIZE = "SIZE"
    RATE = "RATE"
    PERCENT = "PERCENT"
    SWITCH = "on|off"
    CHOICE = "NAME"
    TEXT = "TEXT"
    NETWORKS = "CIDR,..."
    METHODS = "METHOD,..."
    EJECT = "N/DURATION"


class Knob(NamedTuple):
    """One scalar setting.

    default      as it would be written in a file; None = not set
    group        the part of the help it stands in: GROUP of its file in `knobs/`
    low, high    bounds of the parsed value, both allowed
    may_be_zero  0 is allowed beside low..high, with the meaning that help gives
    words        words accepted beside a value, such as "auto", or among those of a
                 list; the first one is what an empty TEXT means
    choices      every word a CHOICE may be
    scopes       tables that may override it by the same key: "listener", "upstream",
                 "route"
    aliases      other flags of the same meaning
    placeholder  the metavar, where the kind's own says too little
    """

    key: str
    kind: Kind
    default: str | int | bool | None
    help: str
    group: str = ""
    low: int = 0
    high: int = _NO_BOUND
    may_be_zero: bool = False
    words: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    placeholder: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        return "FASTGATE_" + self.key.upper()

    @property
    def metavar(self) -> str:
        """Give the unit for the help: `SIZE`, `DURATION`, `auto|N`, `a|b`."""
        if self.kind is Kind.CHOICE:
            return "|".join(self.choices)
        return "|".join((*self.words, self.placeholder or self.kind.value))

    @property
    def default_text(self) -> str:
        """Give the default for the help and the documentation."""
        if self.default is None:
            return "none"
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        if self.default == "":
            return "none"
        return str(self.default)

    @property
    def range_text(self) -> str:
        """Give the bounds for the documentation, or an empty text."""
        write = _WRITERS.get(self.kind)
        # Bounds that only keep a number in its machine word are no help.
        if write is None or (self.high >= _NO_BOUND and self.low <= 1):
            return ""
        if self.high >= _NO_BOUND:
            text = f">= {write(self.low)}"
        else:
            text = f"{write(self.low)}..{write(self.high)}"
        return f"{text} or 0" if self.may_be_zero else text

    def read(self, raw: object) -> Value:
        """Read a value from a file, a flag or a variable.

        Raises BadValueError, whose message does not name the knob.
        """
        is_list = self.kind is Kind.NETWORKS
        if isinstance(raw, str) and not is_list and raw.strip().lower() in self.words:
            return raw.strip().lower()
        return _READERS[self.kind](self, raw)

    def write(self, value: Value) -> str | int | bool | list[str]:
        """Give what a file would hold for a value that `read` gave."""
        if value is None:
            return ""
        if isinstance(value, str | bool):
            return value
        if isinstance(value, tuple):
            return list(value)
        if self.kind is Kind.COUNT:
            return value
        return _WRITERS[self.kind](value)


_WRITERS: dict[Kind, Callable[[int], str]] = {
    Kind.COUNT: str,
    Kind.DURATION: format_duration,
    Kind.SIZE: format_size,
    Kind.RATE: format_rate,
    Kind.PERCENT: lambda value: f"{value}%",
}

_PARSERS: dict[Kind, Callable[[object], int]] = {
    Kind.COUNT: parse_count,
    Kind.DURATION: parse_duration_ms,
    Kind.SIZE: parse_size_bytes,
    Kind.RATE: parse_rate,
    Kind.PERCENT: parse_percent,
}


def _read_number(knob: Knob, raw: object) -> int:
    parse = _PARSERS[knob.kind]
    try:
        value = parse_signed(parse, raw)
    except BadValueError as bad:
        if not knob.words or not isinstance(raw, str):
            raise
        words = " or ".join(f"'{word}'" for word in knob.words)
        raise BadValueError(
            f"{bad} or {words}",
            bad.suggestion or nearest(raw, knob.words),
        ) from None
    if knob.may_be_zero and value == 0:
        return value
    if not knob.low <= value <= knob.high:
        write = _WRITERS[knob.kind]
        words = ""
        if knob.high < _NO_BOUND:
            what = f"is outside {write(knob.low)}..{write(knob.high)}"
            words = "".join(f" or '{word}'" for word in knob.words)
        elif value < knob.low:
            what = f"is less than {write(knob.low)}"
        else:
            what = f"is more than {write(knob.high)}"
        or_zero = " or 0" if knob.may_be_zero else ""
        raise BadValueError(f"{show(raw)} {what}{or_zero}{words}")
    return value


def _read_switch(knob: Knob, raw: object) -> bool:
    try:
        return parse_switch(raw)
    except BadValueError:
        words = (*knob.words, "on", "off")
        raise BadValueError(
            f"{show(raw)} is not {either(words)}",
            nearest(raw, words) if isinstance(raw, str) else None,
        ) from None


def read_choice(choices: tuple[str, ...], raw: object) -> str:
    """Read one word of several. Raises BadValueError naming them all."""
    if isinstance(raw, str):
        text = raw.strip().lower()
        if text in choices:
            return text
        # Underscores for dashes and abbreviations are the usual slips.
        dashed = text.replace("_", "-")
        if dashed in choices:
            suggestion: str | None = dashed
        else:
            starts = [
                choice for choice in choices if dashed and choice.startswith(dashed)
            ]
            suggestion = starts[0] if len(starts) == 1 else nearest(dashed, choices)
    else:
        suggestion = None
    raise BadValueError(f"{show(raw)} is not one of {', '.join(choices)}", suggestion)


def _read_choice(knob: Knob, raw: object) -> str:
    return read_choice(knob.choices, raw)


def _read_text(knob: Knob, raw: object) -> str | None:
    if not isinstance(raw, str):
        raise BadValueError(f"{show(raw)} is not a text")
    if any(not c.isprintable() for c in raw):
        raise BadValueError(f"{show(raw)} holds a control character")
    text = raw.strip()
    if knob.placeholder == "PATH" and text.lower() in _NO_PATHS:
        words = ", ".join(f"'{word}'" for word in knob.words)
        or_words = f"{words} or " if words else ""
        raise BadValueError(f"{show(raw)} is no file: write {or_words}a path")
    if text:
        return text
    if knob.default is not None:
        return knob.words[0]  # every text that must be something has a word for it
    return None


def _read_networks(knob: Knob, raw: object) -> tuple[str, ...]:
    """Read a list of networks, and of the knob's words. Raises BadValueError."""
    import ipaddress  # noqa: PLC0415 (help must not pay for it)

    if isinstance(raw, str):
        parts: list[object] = [part for part in raw.split(",") if part.strip()]
    elif isinstance(raw, list | tuple):
        parts = list(raw)
    else:
        raise BadValueError(f"{show(raw)} is not a list of networks")
    networks: dict[str, None] = {}
    for part in parts:
        if not isinstance(part, str):
            raise BadValueError(f"{show(part)} is not a network")
        text = part.strip()
        if text.lower() in knob.words:
            networks[text.lower()] = None
            continue
        try:
            networks[str(ipaddress.ip_network(text))] = None
        except ValueError:
            try:
                meant = str(ipaddress.ip_network(text, strict=False))
            except ValueError:
                forms = ", ".join(("10.0.0.0/8", "fd00::/8", *knob.words[:-1]))
                raise BadValueError(
                    f"{show(text)} is not a network: write {forms} or {knob.words[-1]}",
                    nearest(text.partition(":")[0], knob.words),
                ) from None
            raise BadValueError(
                f"{show(text)} has bits set outside its mask", meant
            ) from None
    return tuple(networks)


def _read_methods(_knob: Knob, raw: object) -> tuple[str, ...]:
    return read_methods(raw)


def parse_eject(raw: object) -> tuple[int, int]:
    """Read `5/10s`: after 5 failures in a row, for 10 s; `off` gives (0, 0).

    returns  (failures, ms)
    Raises BadValueError.
    """
    if raw is False or (isinstance(raw, str) and raw.strip().lower() == "off"):
        return 0, 0
    failures, slash, duration = (
        raw.partition("/") if isinstance(raw, str) else ("",) * 3
    )
    if not slash:
        raise BadValueError(
            f"{show(raw)} is not FAILURES/DURATION, as in 5/10s, or 'off'"
        )
    count, ms = parse_count(failures), parse_duration_ms(duration)
    if not 1 <= count <= 1000:
        raise BadValueError(f"{show(raw)}: {count} failures are not in 1..1000")
    if not 1 <= ms <= DAY_MS:
        raise BadValueError(f"{show(raw)}: the duration is outside 1ms..24h")
    return count, ms


def _read_eject(_knob: Knob, raw: object) -> str:
    failures, ms = parse_eject(raw)
    return f"{failures}/{format_duration(ms)}" if failures else "off"


_READERS: dict[Kind, Callable[[Knob, object], Value]] = {
    Kind.COUNT: _read_number,
    Kind.DURATION: _read_number,
    Kind.SIZE: _read_number,
    Kind.RATE: _read_number,
    Kind.PERCENT: _read_number,
    Kind.SWITCH: _read_switch,
    Kind.CHOICE: _read_choice,
    Kind.TEXT: _read_text,
    Kind.NETWORKS: _read_networks,
    Kind.METHODS: _read_methods,
    Kind.EJECT: _read_eject,
}
