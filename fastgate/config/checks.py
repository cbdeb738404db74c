"""Checks of the texts in a configuration: names, keys, headers.

Runs in: every process (imported only where configuration is read).

Each function takes what was written, gives what the model holds, and raises
through `fault`, which carries a suggestion to whoever reports it.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from fastgate.config.address import parse_address
from fastgate.config.units import TOKEN, BadValueError, nearest, show

_TOKEN = re.compile(TOKEN + "{1,256}")
# A parameter's name as it stands in a query: compared as sent, not decoded.
_PARAMETER = re.compile(r"[A-Za-z0-9\-._~]{1,256}")
# RFC 9110 section 7.6.3; short, for it stands in every head of both ways.
_RECEIVED_BY = re.compile(TOKEN + r"{1,64}(:\d{1,5})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

# The gateway frames messages and manages connections itself (RFC 9110 7.6.1,
# RFC 9112 6): a rule that touched these could split or smuggle a request.
FRAMING_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def fault(message: str, suggestion: str | None = None) -> PydanticCustomError:
    """Make the error of a validator, with what was probably meant."""
    # The text goes through the context, as a template would read its braces.
    context = {"text": message, "suggestion": suggestion or ""}
    return PydanticCustomError("fastgate", "{text}", context)


class Fault(NamedTuple):
    """One thing wrong in a table, at one of its keys."""

    key: str
    what: str | PydanticCustomError


def raise_all(faults: Sequence[Fault]) -> None:
    """Raise one error that carries all of `faults`, if there are any."""
    if faults:
        raise ValidationError.from_exception_data(
            "table",
            [
                InitErrorDetails(
                    type=fault(what) if isinstance(what, str) else what,
                    loc=(key,),
                    input=key,
                )
                for key, what in faults
            ],
        )


def check_hop_name(text: str) -> None:
    """Refuse what Via could not call a gateway."""
    if not _RECEIVED_BY.fullmatch(text):
        raise fault(f"{show(text)} is not NAME or NAME:PORT, as in edge-1")


def check_hash_key(text: str) -> str:
    """Take client, path, header:NAME, cookie:NAME or query:NAME."""
    kind, colon, name = text.strip().partition(":")
    kind = kind.lower()
    if kind in ("client", "path") and not colon:
        return kind
    if kind in ("header", "cookie") and _TOKEN.fullmatch(name):
        return f"{kind}:{name.lower() if kind == 'header' else name}"
    if kind == "query" and _PARAMETER.fullmatch(name):
        return f"{kind}:{name}"
    meant = nearest(kind, ["client", "path", "header", "cookie", "query"])
    if meant in ("header", "cookie", "query"):
        suggestion = f"{meant}:{name}" if _TOKEN.fullmatch(name) else None
    else:
        suggestion = meant
    raise fault(
        f"{show(text)} is not client, path, header:NAME, cookie:NAME or query:NAME",
        suggestion,
    )


def check_header_name(name: object) -> str:
    """Take a field name that rules may touch."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise fault(f"{show(name)} is not a header name (RFC 9110 5.6.2)")
    if name.lower() in FRAMING_HEADERS:
        hint = ": use the route's host" if name.lower() == "host" else ""
        raise fault(f"{show(name)} frames the message: no rule may touch it{hint}")
    return name


def check_header_value(name: str, value: object) -> str:
    """Take a field value that cannot end its line and asks for no variable."""
    if not isinstance(value, str):
        raise fault(f"the value of {show(name)} is not a text")
    # C0, DEL and C1: a line end would split the message.
    if any((ord(c) < 0x20 and c != "\t") or 0x7F <= ord(c) < 0xA0 for c in value):
        raise fault(f"the value of {show(name)} holds a control character")
    if len(value.encode("utf-8", "replace")) > 8192:
        raise fault(f"the value of {show(name)} is longer than 8192 bytes")
    if "$" in value:
        # Taken as a text today, it would change its meaning later.
        raise fault(
            f"the value of {show(name)} holds a '$': it is kept for variables, which"
            " this release does not have"
        )
    if value != value.strip(" \t"):
        raise fault(
            f"the value of {show(name)} begins or ends with white space", value.strip()
        )
    return value


def check_header_table(raw: object) -> object:
    """Take a table of field names and values, each name once."""
    if not isinstance(raw, dict):
        raise fault(f"{show(raw)} is not a table of names and values")
    seen: dict[str, str] = {}
    found: list[Fault] = []
    for name, value in raw.items():
        try:
            check_header_value(check_header_name(name), value)
        except PydanticCustomError as error:
            found.append(Fault(name, error))
        earlier = seen.setdefault(str(name).lower(), name)
        if earlier != name:
            text = f"{show(name)} and {show(earlier)} are the same header"
            found.append(Fault(name, text))
    raise_all(found)
    return raw


def check_upstream_host(text: str) -> str:
    """Take keep, upstream or a literal host, with or without port."""
    host = text.strip()
    if host in ("keep", "upstream"):
        return host
    try:
        # A port is allowed but not needed.
        parse_address(
            host if ":" in host.rpartition("]")[2] else f"{host}:1", listening=False
        )
    except BadValueError:
        raise fault(
            f"{show(text)} is not keep, upstream or a host",
            nearest(host, ["keep", "upstream"]),
        ) from None
    return host.lower()


def check_name(name: object) -> str:
    """Take the name of a listener, upstream or route."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise fault(
            f"{show(name)} is not a name: letters, digits, '-', '_', '.', at most 64"
        )
    return name
