"""What the gateway answers by itself: `respond`, `redirect`, `error_pages`.

Runs in: every process (imported only where configuration is read).
"""

import re
from functools import partial
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from fastgate.config.bounds import PAGE_BYTES
from fastgate.config.checks import fault
from fastgate.config.model.settings import Settings, checked
from fastgate.config.pages import check_error_pages
from fastgate.config.redirect import STATUSES, parse_target
from fastgate.config.units import TOKEN, parse_count, parse_signed, show

# RFC 9110 section 8.3.1, and short: it stands in a head.
_MEDIA_TYPE = re.compile(
    rf"{TOKEN}+/{TOKEN}+"
    rf'(?:[ \t]*;[ \t]*{TOKEN}+=(?:{TOKEN}+|"[^"\\\x00-\x1f\x7f]*"))*'
)
_LONGEST_TYPE = 256
# RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
_WITHOUT_BODY = (204, 205, 304)
_BLANKS = "\t\n\r"

ErrorPages = Annotated[
    dict[str, str],
    BeforeValidator(check_error_pages),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]


def _read_status(raw: Any) -> int:
    return checked(partial(parse_signed, parse_count), raw)


class Respond(Settings):
    """An answer that is given without asking anybody."""

    status: int = Field(
        description="200..599", json_schema_extra={"minimum": 200, "maximum": 599}
    )
    body: str | None = Field(
        default=None,
        description="its text, at most 64k (default: what the gateway says of a"
        " status from 400 on, with error_pages; otherwise nothing)",
    )
    content_type: str = Field(
        default="text/plain; charset=utf-8",
        description="Content-Type of body (default: text/plain; charset=utf-8)",
    )

    @field_validator("status", mode="before")
    @classmethod
    def _check_status(cls, raw: Any) -> int:
        status = _read_status(raw)
        if not 200 <= status <= 599:
            raise fault(f"{show(raw)} is outside 200..599")
        return status

    @field_validator("body")
    @classmethod
    def _check_body(cls, body: str | None, info: ValidationInfo) -> str | None:
        if body is None:
            return None
        status = info.data.get("status")
        if body and status in _WITHOUT_BODY:
            raise fault(f"an answer with status {status} has none (RFC 9110)")
        if any((c < " " and c not in _BLANKS) or c == "\x7f" for c in body):
            raise fault("it holds a control character")
        if len(body.encode()) > PAGE_BYTES:
            raise fault(f"it is longer than {PAGE_BYTES} bytes")
        return body

    @field_validator("content_type")
    @classmethod
    def _check_content_type(cls, text: str, info: ValidationInfo) -> str:
        text = text.strip(" \t")
        if len(text) > _LONGEST_TYPE or not _MEDIA_TYPE.fullmatch(text):
            raise fault(f"{show(text)} is not a media type, as in text/html")
        if not info.data.get("body", "?"):
            raise fault("means nothing without a body")
        return text


class Redirect(Settings):
    """An answer that names another place."""

    to: str = Field(
        description="a URL, or a path from '/' on; {host}, {path}, {query} (with its"
        " '?') and {scheme} stand for the request's"
    )
    status: int = Field(
        default=302,
        description="301, 302, 303, 307 or 308; the last two keep the method"
        " (default: 302)",
        json_schema_extra={"enum": list(STATUSES)},
    )

    @field_validator("to", mode="before")
    @classmethod
    def _check_to(cls, raw: Any) -> str:
        checked(parse_target, raw)
        return str(raw).strip()

    @field_validator("status", mode="before")
    @classmethod
    def _check_status(cls, raw: Any) -> int:
        status = _read_status(raw)
        if status not in STATUSES:
            raise fault(f"{show(raw)} is not {', '.join(map(str, STATUSES))}")
        return status
