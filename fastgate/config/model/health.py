"""`health` of an upstream: how its endpoints are checked, and how often.

Runs in: every process (imported only where configuration is read).
"""

import importlib
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fastgate.config.address import parse_address
from fastgate.config.checks import Fault, check_header_table, fault, raise_all
from fastgate.config.model.settings import Settings, checked, choice
from fastgate.config.units import (
    BadValueError,
    either,
    format_duration,
    parse_count,
    parse_duration_ms,
    parse_percent,
    parse_signed,
    parse_switch,
    show,
)

ANY_OK = "200-399"
METHODS = ("GET", "HEAD")
# What is sent or looked for: a check is no load test.
_LONGEST_TEXT_BYTES = 4096
_LONGEST_PATTERN = 1024
_MOST_HEADERS = 32
_LEAST_INTERVAL_MS = 100
_DURATIONS_MS = {
    "interval": (_LEAST_INTERVAL_MS, 3_600_000),
    "fast_interval": (_LEAST_INTERVAL_MS, 3_600_000),
    "timeout": (50, 600_000),
}
_MOST_PORT = 65535
_MOST_IN_A_ROW = 100
_MOST_JITTER = 50

_STATUSES = re.compile(r"([0-9]{3})(?:\s*-\s*([0-9]{3}))?")
# A request target as it stands on the wire (RFC 9112 section 3.2.1).
_TARGET = re.compile(r"/[\x21-\x22\x24-\x7e]{0,2047}")

_ONLY_HTTP: tuple[str, ...] = ("path", "method", "host", "headers", "body")
_ONLY_TCP: tuple[str, ...] = ("send",)


def parse_statuses(text: object) -> frozenset[int]:
    """Read `200-399` or `200,204`. Raises BadValueError."""
    statuses: set[int] = set()
    for part in str(text).split(","):
        found = _STATUSES.fullmatch(part.strip())
        low, high = (found[1], found[2] or found[1]) if found else ("0", "0")
        if not 100 <= int(low) <= int(high) <= 999:
            raise BadValueError(
                f"{show(text)} is not a list of statuses: write 200-399 or 200,204"
            )
        statuses.update(range(int(low), int(high) + 1))
    return frozenset(statuses)


def body_matcher(pattern: str) -> Callable[[bytes], bool]:
    """Compile what a body must contain, for RE2: in time linear in the body.

    Raises BadValueError, also where google-re2 is not installed.
    """
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        raise BadValueError(
            "a pattern is matched by RE2, which is not installed: "
            "pip install 'fastgate[re2]'"
        ) from None
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        search = re2.compile(pattern.encode(), options).search
    except re2.error as error:
        why = error.args[0] if error.args else "?"
        why = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise BadValueError(f"{show(pattern)} is not a pattern of RE2: {why}") from None
    return lambda body: search(body) is not None


def _check_bytes(text: str) -> str:
    if not text:
        raise fault("is empty")
    if len(text.encode()) > _LONGEST_TEXT_BYTES:
        raise fault(f"is longer than {_LONGEST_TEXT_BYTES} bytes")
    return text


_Text = Annotated[str, AfterValidator(_check_bytes)]
_DURATION_TYPE: Any = {"type": ["string", "number"]}
_COUNT_TYPE: Any = {"type": ["string", "integer"]}


class Health(Settings):
    """How the steward finds out whether an endpoint can be given requests."""

    tcp: bool = Field(
        default=False,
        description="a connection is enough, with send and expect if there are any;"
        " without it the check is an HTTP request (default: off)",
        json_schema_extra={"type": ["boolean", "string"]},
    )
    path: str | None = Field(
        default=None,
        description="what is asked for, with a query if need be. **Required, unless"
        " tcp is on.**",
    )
    method: Literal["GET", "HEAD"] = Field(
        default="GET", description="GET or HEAD (default: GET)"
    )
    host: str | None = Field(
        default=None,
        description="the Host of the request (default: the address that is checked)",
    )
    headers: dict[str, str] = Field(
        default={}, description="further fields of the request"
    )
    body: str | None = Field(
        default=None,
        description="a pattern of RE2 that the first 64k of the answer's body must"
        " contain; needs `pip install 'fastgate[re2]'` (default: any body)",
    )
    send: _Text | None = Field(
        default=None, description="what a TCP check sends, as UTF-8 (default: nothing)"
    )
    expect: str | None = Field(
        default=None,
        description="HTTP: statuses that pass, as in 200-399 or 200,204 (default:"
        f" {ANY_OK}). TCP: a text that the first 64k of the answer must contain"
        " (default: none; connected is enough)",
        json_schema_extra={"type": ["string", "integer", "array"]},
    )
    port: int | None = Field(
        default=None,
        description="the port that is checked (default: the endpoint's)",
        json_schema_extra=_COUNT_TYPE,
    )
    interval: int = Field(
        default=2_000,
        description="from the beginning of one check to the next, 100ms..1h"
        " (default: 2s)",
        json_schema_extra=_DURATION_TYPE,
    )
    fast_interval: int | None = Field(
        default=None,
        description="in place of interval while an endpoint is down or about to change"
        " (default: half of interval, at least 100ms)",
        json_schema_extra=_DURATION_TYPE,
    )
    timeout: int = Field(
        default=1_000,
        description="for the whole check, 50ms..10m (default: 1s)",
        json_schema_extra=_DURATION_TYPE,
    )
    rise: int = Field(
        default=2,
        description="checks in a row that bring it back, 1..100 (default: 2)",
        json_schema_extra=_COUNT_TYPE,
    )
    fall: int = Field(
        default=3,
        description="failures in a row that take it out, 1..100 (default: 3)",
        json_schema_extra=_COUNT_TYPE,
    )
    jitter: int = Field(
        default=10,
        description="how far an interval is lengthened or shortened by chance,"
        " 0%..50% (default: 10%)",
        json_schema_extra=_COUNT_TYPE,
    )
    initial: Literal["up", "down"] = Field(
        default="up",
        description="what an endpoint is before its first check: up, or down: no"
        " requests until that has passed (default: up)",
    )

    @field_validator("tcp", mode="before")
    @classmethod
    def _check_tcp(cls, raw: Any) -> bool:
        return checked(parse_switch, raw)

    @field_validator("interval", "fast_interval", "timeout", mode="before")
    @classmethod
    def _check_duration(cls, raw: Any, info: ValidationInfo) -> int | None:
        if raw is None:
            return None
        low, high = _DURATIONS_MS[str(info.field_name)]
        value = checked(partial(parse_signed, parse_duration_ms), raw)
        if not low <= value <= high:
            bounds = f"{format_duration(low)}..{format_duration(high)}"
            raise fault(f"{show(raw)} is outside {bounds}")
        return value

    @field_validator("port", "rise", "fall", mode="before")
    @classmethod
    def _check_count(cls, raw: Any, info: ValidationInfo) -> int | None:
        if raw is None:
            return None
        high = _MOST_PORT if info.field_name == "port" else _MOST_IN_A_ROW
        value = checked(partial(parse_signed, parse_count), raw)
        if not 1 <= value <= high:
            raise fault(f"{show(raw)} is outside 1..{high}")
        return value

    @field_validator("jitter", mode="before")
    @classmethod
    def _check_jitter(cls, raw: Any) -> int:
        value = checked(partial(parse_signed, parse_percent), raw)
        if not 0 <= value <= _MOST_JITTER:
            raise fault(f"{show(raw)} is outside 0%..{_MOST_JITTER}%")
        return value

    @field_validator("method", mode="before")
    @classmethod
    def _check_method(cls, raw: Any) -> str:
        text = str(raw).strip().upper()
        if text not in METHODS:
            raise fault(
                f"{show(raw)} is not {either(METHODS)}: a check changes nothing"
            )
        return text

    @field_validator("initial", mode="before")
    @classmethod
    def _check_initial(cls, raw: Any) -> str:
        return choice(("up", "down"), raw)

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str | None) -> str | None:
        if path is None:
            return None
        if not path.startswith("/"):
            raise fault(f"{show(path)} does not start with '/'", "/" + path)
        if not _TARGET.fullmatch(path):
            raise fault(
                f"{show(path)} cannot stand in a request: at most 2048 bytes of ASCII,"
                " without blanks and '#'"
            )
        return path

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str | None) -> str | None:
        if host is None:
            return None
        has_port = ":" in host.rpartition("]")[2]
        try:
            parse_address(host if has_port else f"{host}:1", listening=False)
        except BadValueError:
            raise fault(f"{show(host)} is not a host") from None
        if host.startswith("unix:"):
            raise fault(f"{show(host)} is not a host")
        return host

    @field_validator("headers", mode="before")
    @classmethod
    def _check_headers(cls, raw: Any) -> Any:
        for name in raw if isinstance(raw, dict) else ():
            if str(name).lower() == "host":
                raise fault(f"{show(name)} has a key of its own", "host")
        if isinstance(raw, dict) and len(raw) > _MOST_HEADERS:
            raise fault(f"{len(raw)} fields are more than {_MOST_HEADERS}")
        return check_header_table(raw)

    @field_validator("body")
    @classmethod
    def _check_body(cls, body: str | None, info: ValidationInfo) -> str | None:
        if body is None:
            return None
        if len(body) > _LONGEST_PATTERN:
            raise fault(f"is longer than {_LONGEST_PATTERN} characters")
        if info.data.get("method") == "HEAD":
            raise fault("means nothing with method = 'HEAD': its answer has no body")
        checked(lambda _: body_matcher(body), body)
        return body

    @field_validator("expect", mode="before")
    @classmethod
    def _check_expect(cls, raw: Any, info: ValidationInfo) -> Any:
        if info.data.get("tcp"):
            return _check_bytes(raw) if isinstance(raw, str) else raw
        if isinstance(raw, list | tuple):
            raw = ",".join(map(str, raw))
        text = str(raw) if isinstance(raw, int) else raw
        if isinstance(text, str):
            checked(parse_statuses, text)
        return text

    @field_validator("fast_interval")
    @classmethod
    def _is_faster(cls, fast: int | None, info: ValidationInfo) -> int | None:
        interval: int | None = info.data.get("interval")
        if fast is not None and interval is not None and fast > interval:
            raise fault(f"is longer than interval = {format_duration(interval)}")
        return fast

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "Health":
        if not self.tcp and self.path is None:
            raise fault("needs path for a check by HTTP, or tcp = true")
        keys, what = _ONLY_TCP, "for a check by HTTP, only with tcp = true"
        if self.tcp:
            keys, what = _ONLY_HTTP, "with tcp = true, only for a check by HTTP"
        raise_all(
            [
                Fault(key, f"means nothing {what}")
                for key in keys
                if key in self.model_fields_set
            ]
        )
        return self

    @property
    def fast_interval_ms(self) -> int:
        """The interval while down or about to change, given or not."""
        if self.fast_interval is not None:
            return self.fast_interval
        return max(_LEAST_INTERVAL_MS, self.interval // 2)

    def written(self) -> dict[str, object]:
        """Give what was set, as a file writes it."""
        table: dict[str, object] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if key not in self.model_fields_set or value is None:
                continue
            if key in ("interval", "fast_interval", "timeout"):
                value = format_duration(value)
            elif key == "jitter":
                value = f"{value}%"
            table[key] = value
        return table
