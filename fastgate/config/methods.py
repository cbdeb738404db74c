"""Names of methods in a configuration (RFC 9110 section 9.1).

Runs in: every process.
"""

import re

from fastgate.config.bounds import METHOD_BYTES
from fastgate.config.units import TOKEN, BadValueError, show

# What the parser knows and the data plane forwards; any other method is answered
# 501 before anybody reads its name. A test holds the list to the parser's own.
FORWARDED = (
    *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY"),
    *("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK"),
    *("BIND", "REBIND", "UNBIND", "ACL", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE"),
    *("MKCALENDAR", "LINK", "UNLINK", "PURGE"),
    *("M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE"),
)
# Names that never reach a list: what becomes of them is no listener's choice.
_DECIDED = {"CONNECT": "answered 405", "PRI": "HTTP/2's, answered 505"}
# A request of an unknown method is compared with each.
_MOST = 64


def read_methods(raw: object) -> tuple[str, ...]:
    """Read a list of methods, or a text of them with commas between.

    Raises BadValueError: for what is no method, for one that is listed twice or
    answered in one way whatever the list says, and for a known one in the wrong case.
    """
    if isinstance(raw, str):
        parts: list[object] = [part.strip() for part in raw.split(",") if part.strip()]
    elif isinstance(raw, list | tuple):
        parts = list(raw)
    else:
        raise BadValueError(f"{show(raw)} is not a list of methods")
    if len(parts) > _MOST:
        raise BadValueError(f"{len(parts)} methods are more than {_MOST}")
    methods: dict[str, None] = {}
    for part in parts:
        method = _read_method(part)
        if method in methods:
            raise BadValueError(f"{show(method)} is listed twice")
        methods[method] = None
    return tuple(methods)


def _read_method(raw: object) -> str:
    if not isinstance(raw, str) or not re.fullmatch(TOKEN + "+", raw):
        raise BadValueError(f"{show(raw)} is not a method (RFC 9110 9.1)")
    if len(raw) > METHOD_BYTES:
        raise BadValueError(f"{show(raw)} is longer than {METHOD_BYTES} bytes")
    upper = raw.upper()
    if raw != upper and (upper in FORWARDED or upper in _DECIDED):
        raise BadValueError(f"{show(raw)} is another method than {upper}", upper)
    if raw in _DECIDED:
        raise BadValueError(f"{show(raw)} is {_DECIDED[raw]} always: leave it out")
    return raw
