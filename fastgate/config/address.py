"""Addresses of listeners and endpoints, as text and as parts.

Runs in: every process.

`host:port`, `[v6]:port`, `:port` (every IPv4 address of the machine) and
`unix:/path`. A host name is left to be resolved by whoever binds or connects.
"""

import ipaddress
import re
from typing import NamedTuple

from fastgate.config.bounds import UNIX_PATH_BYTES
from fastgate.config.units import BadValueError, show

_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class Address(NamedTuple):
    """The parts of an address; `path` is set for Unix sockets, else host and port.

    host  an IP literal without brackets, or a name in lower case
    """

    host: str
    port: int
    path: str | None = None

    @property
    def is_unix(self) -> bool:
        return self.path is not None

    @property
    def is_literal(self) -> bool:
        """Say whether the host needs no resolving: an IP literal, or a socket."""
        if self.path is not None:
            return True
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        """Write it as a configuration would."""
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def is_host_name(host: str) -> bool:
    """Say whether `host` has the shape of a DNS name (RFC 1123, and `_`)."""
    if len(host) > 253:
        return False
    return all(_HOST_LABEL.fullmatch(label) for label in host.split("."))


def _parse_unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or "\0" in path or path.endswith("/"):
        raise BadValueError(f"{show(text)} is not a socket: write unix:/absolute/path")
    if len(path.encode()) > UNIX_PATH_BYTES:
        raise BadValueError(
            f"{show(text)} is longer than {UNIX_PATH_BYTES} bytes,"
            " the most a Unix socket's path can have"
        )
    return Address("", 0, path)


def _parse_port(text: str, port: str, least: int) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise BadValueError(f"{show(text)}: {show(port)} is not a port")
    number = int(port)
    if not least <= number <= 65535:
        raise BadValueError(f"{show(text)}: port {number} is not in {least}..65535")
    return number


def _parse_host(text: str, host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise BadValueError(
                f"{show(text)}: {show(host)} is not an IPv6 address"
            ) from None
    if host.count(":"):
        raise BadValueError(
            f"{show(text)}: an IPv6 address needs brackets, as in [::1]:8080"
        )
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise BadValueError(
                f"{show(text)}: {show(host)} is not an IPv4 address"
            ) from None
    if not is_host_name(host):
        raise BadValueError(f"{show(text)}: {show(host)} is not a host")
    return host.lower()


def parse_address(raw: object, *, listening: bool) -> Address:
    """Read an address.

    listening  True for a listener: the host may be empty (0.0.0.0) and the
               port 0 (chosen by the kernel); neither may be for an endpoint
    Raises BadValueError.
    """
    if not isinstance(raw, str):
        is_port = listening and isinstance(raw, int) and 0 <= raw <= 65535
        raise BadValueError(
            f"{show(raw)} is not an address: write host:port",
            f":{raw}" if is_port else None,
        )
    text = raw.strip()
    if text.startswith("unix:"):
        return _parse_unix(text)
    if "://" in text:
        rest = text.split("://", 1)[1].split("/", 1)[0]
        raise BadValueError(f"{show(text)} is a URL: an address is host:port", rest)
    if text.startswith("/"):
        raise BadValueError(f"{show(text)} is a path", f"unix:{text}")
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        is_port = text.isascii() and text.isdigit()
        raise BadValueError(
            f"{show(text)} has no port: write host:port",
            (f":{text}" if listening else None) if is_port else f"{text}:80",
        )
    if host == "*" and listening:
        raise BadValueError(
            f"{show(text)}: every IPv4 address is written 0.0.0.0, every IPv6 [::]",
            f"0.0.0.0:{port}",
        )
    number = _parse_port(text, port, 0 if listening else 1)
    if not host:
        if not listening:
            raise BadValueError(f"{show(text)} has no host: write host:port")
        return Address("0.0.0.0", number)
    return Address(_parse_host(text, host), number)
