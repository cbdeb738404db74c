"""A TOML text read as far as it can be.

Runs in: master (at start and reload) and the command line.

tomllib stops at its first fault. Here the lines at fault are left out and the
rest is read again, so that one slip does not hide every other.
"""

import re
import tomllib
from collections.abc import Iterable
from typing import Any, NamedTuple

from fastgate.config.locate import Places

_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


class SyntaxFault(NamedTuple):
    """What tomllib could not read, and where (1-based)."""

    line: int
    column: int
    message: str


class Parsed(NamedTuple):
    """A text read as far as it can be.

    faults         what is no TOML, in order; the lines at fault are left out
                   of `data`, so that everything else can still be checked
    lost_a_header  a whole table was left out with its header, so that what
                   names it may look wrong without being so
    """

    data: dict[str, Any]
    places: Places
    faults: tuple[SyntaxFault, ...]
    lost_a_header: bool


# A text that is no TOML at all is not worth a message per line, and each one
# costs another reading.
_MOST_FAULTS = 50
_MOST_CHARACTERS_REREAD = 1 << 18


def parse(text: str) -> Parsed:
    """Read a TOML text, going on after each line that is none.

    Never raises for any text.
    """
    lines = text.split("\n")
    faults: list[SyntaxFault] = []
    lost_a_header = False
    data: dict[str, Any] = {}
    most = _MOST_FAULTS if len(text) <= _MOST_CHARACTERS_REREAD else 1
    while len(faults) < most:
        readable = "\n".join(lines)
        try:
            data = tomllib.loads(readable)
            break
        except tomllib.TOMLDecodeError as error:
            fault = _fault_of(error, lines)
            faults.append(fault)
        except RecursionError:
            faults.append(SyntaxFault(1, 1, "values are nested too deeply"))
            break
        except ValueError as error:
            # Python's own limit on the digits of a number has no place.
            faults.append(SyntaxFault(1, 1, str(error)))
            break
        taken, is_header = _statement_at(lines, fault.line - 1)
        if not taken:
            break
        lost_a_header = lost_a_header or is_header
        for index in taken:
            lines[index] = ""
    # A header that was left out leaves no key behind, so the places of the
    # readable text are those of the whole text.
    places = Places("\n".join(lines) if faults else text)
    faults.sort()
    return Parsed(data, places, tuple(faults), lost_a_header)


def _fault_of(error: tomllib.TOMLDecodeError, lines: list[str]) -> SyntaxFault:
    message = str(error)
    found = _PLACE.search(message)
    message = _PLACE.sub("", message)
    message = message[:1].lower() + message[1:]
    if found and found[1]:
        return SyntaxFault(int(found[1]), int(found[2]), message)
    last = next((i for i in range(len(lines), 0, -1) if lines[i - 1].strip()), 1)
    return SyntaxFault(last, len(lines[last - 1].rstrip()) + 1, message)


def _statement_at(lines: list[str], index: int) -> tuple[Iterable[int], bool]:
    """Give the lines to leave out for a fault on line `index`, and if a header.

    Nothing if the line is blank already: then no further reading helps.
    """
    if index >= len(lines) or not lines[index].strip():
        return (), False
    if not lines[index].lstrip().startswith("["):
        return (index,), False
    end = index + 1
    while end < len(lines) and not lines[end].lstrip().startswith("["):
        end += 1
    return range(index, end), True
