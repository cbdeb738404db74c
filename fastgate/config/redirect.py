"""Where a redirect sends its client: a URL with placeholders.

Runs in: every process (imported only where configuration is read).

What is put in for a placeholder is safe where a URL has it: the data plane escapes
what is not. `{path}` is the path as it was routed, and begins with one slash;
`{query}` is the request's query with its `?`, or nothing.
"""

import re
from typing import NamedTuple

from fastgate.config.units import BadValueError, nearest, show

# The data plane knows each by its place here.
PLACEHOLDERS = ("host", "path", "query", "scheme")

STATUSES = (301, 302, 303, 307, 308)

_LONGEST_BYTES = 4096
_PLACEHOLDER = re.compile(r"(\{[^{}]*\})")
# RFC 3986 appendix A, but for "$", which is asked for by those who mean a variable.
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_ABSOLUTE = re.compile(r"(?:[Hh][Tt][Tt][Pp][Ss]?|\{scheme\})://")
# No user information: a host behind it is not the one that people read.
_AUTHORITY = re.compile(
    r"(?P<host>(?:[A-Za-z0-9\-._]|\{host\}|\[[0-9A-Fa-f:.]+\])+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?=[/?#]|\{path\}|\{query\}|$)"
)
# What nginx calls them.
_NGINX_VARIABLES = {
    "$host": "{host}",
    "$http_host": "{host}",
    "$request_uri": "{path}{query}",
    "$uri": "{path}",
    "$document_uri": "{path}",
    "$is_args$args": "{query}",
    "?$args": "{query}",
    "?$query_string": "{query}",
    "$scheme": "{scheme}",
}


class Place(NamedTuple):
    """Where a target leads; placeholders stand in it as they were written.

    scheme  in lower case; with host and port None: that of the request
    port    None: the scheme's own
    path    up to the query or the fragment
    """

    scheme: str | None
    host: str | None
    port: int | None
    path: str


def parse_target(raw: object) -> tuple[str | int, ...]:
    """Read `https://example.org{path}`.

    returns  its pieces in order: texts, and placeholders as numbers
    Raises BadValueError.
    """
    if not isinstance(raw, str):
        raise BadValueError(f"{show(raw)} is not a text")
    if any(not c.isprintable() for c in raw):
        raise BadValueError(f"{show(raw)} holds a control character")
    text = raw.strip()
    if len(text.encode()) > _LONGEST_BYTES:
        raise BadValueError(f"{show(raw)} is longer than {_LONGEST_BYTES} bytes")
    if "$" in text:
        less = "; {host} has no port, unlike $http_host" if "$http_host" in text else ""
        raise BadValueError(
            f"{show(raw)} holds a '$': placeholders are {_listed()}{less}", _meant(text)
        )
    pieces: list[str | int] = []
    for piece in filter(None, _PLACEHOLDER.split(text)):
        if not _PLACEHOLDER.fullmatch(piece):
            _check_literal(piece)
            pieces.append(piece)
            continue
        number = _number(piece)
        if number in pieces:
            raise BadValueError(f"{show(raw)} holds {piece} twice")
        pieces.append(number)
    _check_beginning(text)
    _check_query(text)
    return tuple(pieces)


def place_of(target: str) -> Place:
    """Say where a target leads that parse_target takes."""
    absolute = _ABSOLUTE.match(target)
    authority = _AUTHORITY.match(target, absolute.end()) if absolute else None
    rest = target[authority.end() if authority else 0 :]
    # Behind a query that is empty the path goes on.
    path = re.split(r"[?#]|\{query\}(?=#|$)", rest)[0]
    if absolute is None or authority is None:
        return Place(None, None, None, path)
    scheme = absolute[0].removesuffix("://").lower()
    port = int(authority["port"]) if authority["port"] else None
    return Place(scheme, authority["host"].lower(), port, path or "/")


def _listed() -> str:
    return ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)


def _meant(text: str) -> str | None:
    for variable, placeholder in _NGINX_VARIABLES.items():
        text = re.sub(re.escape(variable) + r"(?![a-z_])", placeholder, text)
    return text if "$" not in text else None


def _number(piece: str) -> int:
    name = piece[1:-1]
    if name not in PLACEHOLDERS:
        found = nearest(name.strip().lower(), PLACEHOLDERS)
        meant = f"{{{found}}}" if found else None
        raise BadValueError(f"{show(piece)} is not one of {_listed()}", meant)
    return PLACEHOLDERS.index(name)


def _check_literal(piece: str) -> None:
    end = _LITERAL.match(piece)
    at = end.end() if end else 0
    if at == len(piece):
        return
    if piece[at] in "{}":
        raise BadValueError(f"{show(piece)} holds a brace without its other")
    escaped = "".join(f"%{byte:02X}" for byte in piece[at].encode())
    raise BadValueError(
        f"{show(piece)} is no part of a URL: {show(piece[at])} is written {escaped}"
    )


def _check_beginning(text: str) -> None:
    absolute = _ABSOLUTE.match(text)
    if absolute is not None:
        authority = _AUTHORITY.match(text, absolute.end())
        if authority is None:
            raise BadValueError(f"{show(text)} names no HOST or HOST:PORT after '//'")
        if authority["port"] and not 1 <= int(authority["port"]) <= 65535:
            raise BadValueError(f"port {authority['port']} is outside 1..65535")
        return
    if text.startswith(("//", "/{path}")):
        # "//evil.example" is an absolute URL for who reads it (RFC 3986 4.2), and
        # {path} brings its own slash.
        raise BadValueError(
            f"{show(text)} begins with '//', which leads to another host",
            "{path}" + text.removeprefix("/{path}") if "{" in text[:2] else None,
        )
    if text in ("{path}", "{path}{query}"):
        raise BadValueError(f"{show(text)} leads to where it was asked for")
    if not text.startswith(("/", "{path}")):
        raise BadValueError(
            f"{show(text)} begins with neither https://HOST, http://HOST nor '/'"
        )


def _check_query(text: str) -> None:
    before, placeholder, _ = text.partition("{query}")
    mark = re.search("[?#]", before)
    if placeholder and mark:
        raise BadValueError(
            f"{show(text)} holds {{query}} behind {show(mark[0])}, but it brings its"
            " own '?' and ends at '#'",
            text.replace("?{query}", "{query}") if before.endswith("?") else None,
        )
