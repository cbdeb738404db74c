"""Sizes, durations, rates, percentages and switches, read and written.

Runs in: every process.

The same text means the same value in a file, a flag and a variable. A bare
number is a count of seconds where a duration is asked for, and of bytes where
a size is. All arithmetic is exact: `0.1s` is 100 ms, and what is not a whole
number of milliseconds or bytes is refused rather than rounded.
"""

import re
from collections.abc import Callable, Sequence

from fastgate.errors import printable

DURATION_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZE_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

# What people write instead of the units above; only used to suggest.
_DURATION_WORDS = {
    "msec": "ms",
    "millis": "ms",
    "milliseconds": "ms",
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "min": "m",
    "mins": "m",
    "minute": "m",
    "minutes": "m",
    "hr": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
}

# Longer texts are refused before any arithmetic, so that a number of a million
# digits costs nothing.
_LONGEST = 32

# Python raises when asked to print an int of more than 4,300 digits, which a
# file can hold in hexadecimal.
_HUGE_BITS = 128

# Texts, compiled by their first use: `--help` must not pay for them.
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = rf"(?:{_NUMBER}(?:ms|s|m|h|d))+|{_NUMBER}"
_DURATION_PART = rf"({_NUMBER})(ms|s|m|h|d)?"
_SIZE = rf"(?i)({_NUMBER})([kmg]?)(?:i?b)?"
_NUMBER_AND_WORD = rf"({_NUMBER})\s*([a-zA-Z]+)"
_WHOLE = r"[0-9]+"

# One byte of a token, RFC 9110 section 5.6.2.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

_ON = frozenset({"on", "true", "yes", "1"})
_OFF = frozenset({"off", "false", "no", "0"})


class BadValueError(ValueError):
    """A value that cannot be meant; `suggestion` is what probably was."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        self.suggestion = suggestion
        super().__init__(message)


def show(raw: object) -> str:
    """Quote a value for a message: one line, bounded, no control bytes."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list | tuple):
        return "a list"
    if isinstance(raw, int) and raw.bit_length() >= _HUGE_BITS:
        return "a huge number"
    text = str(raw)
    if len(text) > 60:
        text = text[:57] + "..."
    if isinstance(raw, str):
        return f"'{printable(text)}'"
    return text


def either(words: Sequence[str]) -> str:
    """Name several words: `a, b or c`."""
    return f"{', '.join(words[:-1])} or {words[-1]}"


def nearest(word: str, words: Sequence[str], cutoff: float = 0.6) -> str | None:
    """Give the word most like `word`, or None if none is like it.

    cutoff  least likeness, 0..1, as difflib measures it
    """
    from difflib import get_close_matches  # noqa: PLC0415 (help must not pay)

    # Likeness takes time quadratic in the length.
    found = get_close_matches(word[:64].lower(), words, n=1, cutoff=cutoff)
    return found[0] if found else None


def _text_of_number(raw: object) -> str | None:
    """Give the text to read: strings trimmed, TOML numbers as written, else None."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, str):
        return raw.strip()
    if isinstance(raw, int):
        return str(raw) if raw.bit_length() < _HUGE_BITS else None
    if isinstance(raw, float):
        # 1e-05 and nan do not match the grammar and are refused there.
        text = repr(raw)
        return text[:-2] if text.endswith(".0") else text
    return None


def _times(number: str, unit: int) -> int | None:
    """Multiply a decimal by a unit; None if the product is not whole."""
    whole, _, decimals = number.partition(".")
    scale = 10 ** len(decimals)
    product = int(whole + decimals) * unit
    return product // scale if product % scale == 0 else None


def parse_duration_ms(raw: object) -> int:
    """Read `250ms`, `30s`, `5m`, `1h`, `1m30s` or a number of seconds.

    returns  milliseconds
    Raises BadValueError.
    """
    text = _text_of_number(raw)
    if text is None or len(text) > _LONGEST or not re.fullmatch(_DURATION, text):
        suggestion = None
        found = re.fullmatch(_NUMBER_AND_WORD, (text or "")[:_LONGEST])
        if found:
            word = found[2].lower()
            unit = word if word in DURATION_MS else _DURATION_WORDS.get(word)
            suggestion = found[1] + unit if unit else None
        raise BadValueError(
            f"{show(raw)} is not a duration: write 250ms, 30s, 5m or 1h", suggestion
        )
    total = 0
    for number, unit in re.findall(_DURATION_PART, text):
        ms = _times(number, DURATION_MS[unit or "s"])
        if ms is None:
            raise BadValueError(f"{show(raw)} is not a whole number of milliseconds")
        total += ms
    return total


def format_duration(ms: int) -> str:
    """Write milliseconds the way `parse_duration_ms` reads them back exactly."""
    # 60s and 90s read better than 1m and 1.5m.
    for unit, least in (("h", 1), ("m", 2), ("s", 1)):
        if ms >= least * DURATION_MS[unit] and ms % DURATION_MS[unit] == 0:
            return f"{ms // DURATION_MS[unit]}{unit}"
    return f"{ms}ms" if ms else "0s"


def parse_size_bytes(raw: object) -> int:
    """Read `8k`, `16m`, `1g` (powers of 1024) or a plain number of bytes.

    returns  bytes
    Raises BadValueError.
    """
    text = _text_of_number(raw)
    found = (
        re.fullmatch(_SIZE, text)
        if text is not None and len(text) <= _LONGEST
        else None
    )
    if not found:
        suggestion = None
        attempt = re.fullmatch(_NUMBER_AND_WORD, (text or "")[:_LONGEST])
        if attempt and attempt[2][0].lower() in "kmg":
            suggestion = attempt[1] + attempt[2][0].lower()
        raise BadValueError(
            f"{show(raw)} is not a size: write 8k, 16m, 1g or a number of bytes",
            suggestion,
        )
    size_bytes = _times(found[1], SIZE_BYTES[found[2].lower()])
    if size_bytes is None:
        raise BadValueError(f"{show(raw)} is not a whole number of bytes")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """Write bytes the way `parse_size_bytes` reads them back exactly."""
    for unit in ("g", "m", "k"):
        if size_bytes and size_bytes % SIZE_BYTES[unit] == 0:
            return f"{size_bytes // SIZE_BYTES[unit]}{unit}"
    return str(size_bytes)


def parse_rate(raw: object) -> int:
    """Read a size per second: `240`, `240B/s`, `1k/s`; returns bytes per second.

    Raises BadValueError.
    """
    text = raw.strip().removesuffix("/s") if isinstance(raw, str) else raw
    try:
        return parse_size_bytes(text)
    except BadValueError as bad:
        raise BadValueError(
            f"{show(raw)} is not a rate: write 240B/s or 1k/s", bad.suggestion
        ) from None


def format_rate(rate: int) -> str:
    """Write bytes per second the way `parse_rate` reads them back."""
    text = format_size(rate)
    return f"{text}B/s" if text.isdigit() else f"{text}/s"


def parse_percent(raw: object) -> int:
    """Read `20%` or 20; returns whole percents. Raises BadValueError."""
    text = _text_of_number(raw)
    if text is not None:
        text = text.removesuffix("%").rstrip()
    if text is None or len(text) > _LONGEST or not re.fullmatch(_WHOLE, text):
        raise BadValueError(f"{show(raw)} is not a percentage: write 20%")
    return int(text)


def parse_count(raw: object) -> int:
    """Read a whole number, 0 or more. Raises BadValueError."""
    text = _text_of_number(raw)
    if text is None or len(text) > _LONGEST or not re.fullmatch(_WHOLE, text):
        raise BadValueError(f"{show(raw)} is not a whole number")
    return int(text)


def is_below_zero(raw: object, parse: Callable[[object], int]) -> bool:
    """Say whether `parse` would read it but for the minus before it: `-1`, `-5s`."""
    text = _text_of_number(raw)
    if text is None or not text.startswith("-"):
        return False
    try:
        parse(text[1:])
    except BadValueError:
        return False
    return True


def parse_signed(parse: Callable[[object], int], raw: object) -> int:
    """Read with `parse`; -1 for what it would read but for the minus before it."""
    return -1 if is_below_zero(raw, parse) else parse(raw)


def parse_switch(raw: object) -> bool:
    """Read true or false, `on` or `off`, `yes` or `no`. Raises BadValueError."""
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    if text in _ON:
        return True
    if text in _OFF:
        return False
    raise BadValueError(
        f"{show(raw)} is neither on nor off", nearest(text, ["on", "off"])
    )
