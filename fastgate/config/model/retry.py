"""`retry` of an upstream: which failures are made good by another endpoint.

Runs in: every process (imported only where configuration is read).
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator

from fastgate.config.checks import fault
from fastgate.config.knob import DAY_MS
from fastgate.config.knobs import KNOBS
from fastgate.config.model.settings import Settings, checked, choice, listed
from fastgate.config.units import (
    format_duration,
    nearest,
    parse_count,
    parse_duration_ms,
    parse_signed,
    show,
)

# What a try may have ended by, beside a status.
CAUSES = ("connect", "reset", "timeout", "bad")
METHODS = ("idempotent", "all")
_TOO_MANY_REQUESTS = 429
_LONGEST_BACKOFF_MS = 10_000


def _read_cause(raw: Any) -> str | int:
    """Read an item of `on`: a word or a status."""
    if isinstance(raw, str) and not raw.strip().lstrip("-").isdigit():
        word = raw.strip()
        if word not in CAUSES:
            words = ", ".join(CAUSES)
            raise fault(
                f"{show(raw)} is not {words} or a status", nearest(word, CAUSES)
            )
        return word
    status = checked(partial(parse_signed, parse_count), raw)
    if status != _TOO_MANY_REQUESTS and not 500 <= status <= 599:
        raise fault(f"{show(raw)} is not a status of 500..599, nor 429")
    return status


def _read_duration(raw: Any, most_ms: int) -> int:
    ms = checked(partial(parse_signed, parse_duration_ms), raw)
    if not 0 <= ms <= most_ms:
        raise fault(f"{show(raw)} is outside 0s..{format_duration(most_ms)}")
    return ms


class Retry(Settings):
    """When a request is asked of another endpoint; None means the knob's value."""

    WRITERS: ClassVar[dict[str, Callable[[int], str]]] = {
        "backoff": format_duration,
        "per_try": format_duration,
        "budget": lambda percent: f"{percent}%",
    }

    on: tuple[Annotated[str | int, BeforeValidator(_read_cause)], ...] = Field(
        default=("connect", "reset"),
        description="what makes a try fail: connect (refused, unreachable, or not"
        " accepted in time: nothing was sent), reset (the connection ended before the"
        " answer, or in it while no byte of it had left), timeout (no answer in"
        " upstream_timeout or per_try), bad (an answer that may not be forwarded),"
        " and statuses: 429, 500..599. An answer with one of them counts as the"
        " endpoint's failure, and passes if no other endpoint can be asked"
        ' (default: ["connect", "reset"])',
    )
    tries: int | None = Field(
        default=None,
        description="other endpoints tried, none of them twice: the same as retries"
        " (default: retries)",
        json_schema_extra={
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": KNOBS["retries"].low,
            "maximum": KNOBS["retries"].high,
        },
    )
    backoff: int = Field(
        default=0,
        description="base of the pause before a retry, which is any time from 0 to"
        " backoff * 2^(retries made), 32 * backoff at most, and not beyond the"
        " deadline; 0..10s; 0: none (default: 0)",
        json_schema_extra={"type": ["string", "number"]},
    )
    budget: int | None = Field(
        default=None,
        description="most retries, as a share of requests over time and of each"
        " worker, but 3 a second at least: the same as retry_budget"
        " (default: retry_budget)",
        json_schema_extra={
            "anyOf": [{"type": "string"}, {"type": "integer"}],
        },
    )
    methods: str = Field(
        default=METHODS[0],
        description="what may be sent again once it was sent: idempotent (GET, HEAD,"
        " PUT, DELETE, ...) or all, which makes the upstream's work be done twice"
        " where it was done and its answer lost: a POST may then buy two. Of those no"
        " byte of an answer may have come. What has a body needs buffer_request, which"
        " holds it (default: idempotent)",
        json_schema_extra={"enum": list(METHODS)},
    )
    per_try: int = Field(
        default=0,
        description="time for one try, from its connect and again from the end of the"
        " request to the response head; upstream_timeout and connect_timeout hold"
        " beside it; 0: they alone (default: 0)",
        json_schema_extra={"type": ["string", "number"]},
    )

    @field_validator("on", mode="before")
    @classmethod
    def _read_on(cls, raw: Any) -> Any:
        return listed(raw)

    @field_validator("on")
    @classmethod
    def _check_on(cls, causes: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if not causes:
            raise fault("is empty: for no retry write tries = 0")
        for index, cause in enumerate(causes):
            if cause in causes[:index]:
                raise fault(f"{show(cause)} is listed twice")
        return causes

    @field_validator("tries", mode="before")
    @classmethod
    def _check_tries(cls, raw: Any) -> Any:
        return checked(KNOBS["retries"].read, raw)

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, raw: Any) -> Any:
        return checked(KNOBS["retry_budget"].read, raw)

    @field_validator("backoff", mode="before")
    @classmethod
    def _check_backoff(cls, raw: Any) -> int:
        return _read_duration(raw, _LONGEST_BACKOFF_MS)

    @field_validator("per_try", mode="before")
    @classmethod
    def _check_per_try(cls, raw: Any) -> int:
        return _read_duration(raw, DAY_MS)

    @field_validator("methods", mode="before")
    @classmethod
    def _check_methods(cls, raw: Any) -> str:
        return choice(METHODS, raw)
