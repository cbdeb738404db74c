"""Hosts and paths that a route matches, in the form that requests are compared in.

Runs in: every process (imported only where configuration is read).

The data plane compares a request's canonical host and the readings of its path with
the texts of routes, byte for byte (canonical.pyx, readings.pyx). What is written
here otherwise but means the same is brought into that form; what no request could
ever match is a fault that names the form to write. `fault` carries a suggestion to
whoever reports it.
"""

import re
import socket
from urllib.parse import unquote_to_bytes

from fastgate.config.address import is_host_name
from fastgate.config.checks import fault
from fastgate.config.units import show

_LONGEST_PATH_BYTES = 4096
_UNRESERVED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
# What else stands for itself in a path: RFC 3986's pchar, and the slash.
_RESERVED = frozenset(b"!$&'()*+,;=:@/")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
# Overlong UTF-8, which some decode to a character that has a shorter form.
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
# A dot segment for those who take more than the slash for the end of a segment.
_HIDDEN_DOTS = re.compile(r"(?:/|;|%2F|%5C|%3B)\.{1,2}(?:/|;|%2F|%5C|%3B|$)")
# Read in several ways, so that one of them always takes another route.
_ODD = re.compile(r";|%(?:2F|3B|5C|25[0-9A-Fa-f]{2})")
_RESERVED_ESCAPE = re.compile(r"%(?:2[146789ABC]|3[AD]|40)")


def check_route_host(text: str) -> str:
    """Take a host to match: exact, or with `*` as its first label."""
    host = text.strip().lower().rstrip(".")
    plain = host.removeprefix("*.")
    if plain.startswith("[") and plain == host:
        return _literal(text, plain)
    if ":" in plain:
        raise fault(f"{show(text)}: a host to match has no port", plain.split(":")[0])
    if "*" in plain:
        raise fault(f"{show(text)}: a wildcard is the first label alone: *.example.com")
    if not plain.isascii():
        plain = _punycode(text, plain)
    if not is_host_name(plain):
        raise fault(f"{show(text)} is not a host")
    return host[:2] + plain if host.startswith("*.") else plain


def _literal(text: str, host: str) -> str:
    """Give `[v6]` as the data plane writes it, by the same function of libc."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, host[1:].removesuffix("]"))
    except (OSError, ValueError):
        packed = b""
    if not packed or not host.endswith("]"):
        raise fault(f"{show(text)} is not a host")
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]"


def _punycode(text: str, host: str) -> str:
    """Give the A-labels of an internationalised name (RFC 5890).

    Python's codec is of IDNA 2003. Where that maps a character to others (a sharp s
    to "ss"), browsers may do otherwise: such a name is to be written as it is sent.
    """
    try:
        encoded = host.encode("idna").decode()
        if encoded.encode().decode("idna") == host:
            return encoded
    except UnicodeError:
        pass
    labels = (
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
        for label in host.split(".")
    )
    raise fault(
        f"{show(text)} is sent in its xn-- form, and which that is depends on who"
        " sends it: write the one to match",
        ".".join(labels),
    )


def check_path(text: str) -> str:
    """Take a path to match, absolute, and spell it as readings are spelled."""
    if not text.startswith("/"):
        raise fault(f"{show(text)} does not start with '/'", "/" + text)
    if "?" in text or "#" in text:
        raise fault(f"{show(text)}: a path to match ends before '?' and '#'")
    if any(ord(c) <= 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
        raise fault(
            f"{show(text)} is not a path: blanks and controls are percent-encoded"
        )
    if "%" in _ESCAPE.sub("", text):
        meant = re.sub("%(?![0-9A-Fa-f]{2})", "%25", text)
        raise fault(f"{show(text)} is not a path: '%' begins no escape", meant)
    path = _spell(text)
    if len(path) > _LONGEST_PATH_BYTES:
        raise fault(f"{show(text)} is longer than {_LONGEST_PATH_BYTES} bytes")
    if "//" in path or any(part in (".", "..") for part in path.split("/")):
        raise fault(
            f"{show(text)} could never match: '//' is read as '/', and '.' and '..'"
            " are resolved before",
            _resolve(path),
        )
    # What some decode twice is refused by whatever comes to light then, too.
    again = _spell(re.sub("%25(?=[0-9A-Fa-f]{2})", "%", path))
    for seen in (path, again):
        raw = unquote_to_bytes(seen)
        if b"\0" in raw or _OVERLONG.search(raw) or _HIDDEN_DOTS.search(seen):
            raise fault(
                f"{show(text)} could never match: NUL, overlong UTF-8 and hidden dot"
                " segments are refused"
            )
    return path


def _spell(text: str) -> str:
    """Decode escapes of unreserved characters, escape what is not in the grammar."""

    def spell(byte: int) -> str:
        return chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"

    out = []
    for part in re.split("(%[0-9A-Fa-f]{2})", text):
        if _ESCAPE.fullmatch(part):
            out.append(spell(int(part[1:], 16)))
        else:
            out.extend(
                chr(byte) if byte in _RESERVED else spell(byte)
                for byte in part.encode("utf-8", "surrogateescape")
            )
    return "".join(out)


def _resolve(path: str) -> str | None:
    """Merge slashes and resolve dot segments; None if that leaves the root."""
    parts: list[str] = []
    last = ""
    for last in path.split("/"):
        if last == "..":
            if not parts:
                return None
            parts.pop()
        elif last not in ("", "."):
            parts.append(last)
    end = "/" if parts and last in ("", ".", "..") else ""
    return "/" + "/".join(parts) + end


def never_matched(path: str, ambiguous_paths: str) -> tuple[str, str | None] | None:
    """Say why no request can match a path that check_path took, if so.

    ambiguous_paths  the setting that holds for the route
    Gives a message and what was probably meant, or None.
    """
    if ambiguous_paths == "keep":
        return None
    odd = _ODD.search(path)
    if odd is None and ambiguous_paths == "reject":
        odd = re.search("%25", path)
    if odd is not None:
        return (
            f"{show(path)} could never match: a path with {show(odd[0])} can be read"
            f" in several ways, and ambiguous_paths = {show(ambiguous_paths)} would"
            ' refuse each; write it without, or set "keep" for this route',
            None,
        )
    escape = _RESERVED_ESCAPE.search(path)
    if escape is None:
        return None
    meant = _RESERVED_ESCAPE.sub(lambda found: chr(int(found[0][1:], 16)), path)
    return (
        f"{show(path)} could never match: {escape[0]} is read as it is and as"
        f" {show(chr(int(escape[0][1:], 16)))}, and only one of them is this route",
        meant,
    )
