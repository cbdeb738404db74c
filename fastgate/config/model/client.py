"""The settings of `knobs/client.py`.

Runs in: every process (imported only where configuration is read).
"""

from typing import Any

from pydantic import ValidationInfo, field_validator

from fastgate.config.checks import fault
from fastgate.config.knobs import KNOBS
from fastgate.config.model.settings import Settings, knob
from fastgate.config.units import parse_size_bytes


def _head_or_less(data: dict[str, Any]) -> int:
    """Give the default of max_target: a target is part of the head."""
    default = parse_size_bytes(KNOBS["max_target"].default)
    max_header: int = data.get("max_header", default)
    return min(default, max_header)


class ClientSide(Settings):
    """What a client may send, how slowly, and for how long."""

    keepalive: int = knob("keepalive")
    keepalive_requests: int = knob("keepalive_requests")
    half_close: bool = knob("half_close")
    trace: bool = knob("trace")
    refused_methods: tuple[str, ...] = knob("refused_methods")
    header_timeout: int = knob("header_timeout")
    body_timeout: int = knob("body_timeout")
    min_rate: int = knob("min_rate")
    send_timeout: int = knob("send_timeout")
    min_send_rate: int = knob("min_send_rate")
    lingering_time: int = knob("lingering_time")
    lingering_timeout: int = knob("lingering_timeout")
    max_header: int = knob("max_header")
    max_headers: int = knob("max_headers")
    max_target: int = knob("max_target", factory=_head_or_less)
    max_body: int = knob("max_body")
    buffer_response: int = knob("buffer_response")

    @field_validator("max_target")
    @classmethod
    def _fits_the_head(cls, max_target: int, info: ValidationInfo) -> int:
        max_header = info.data.get("max_header")
        if max_header is not None and max_target > max_header:
            raise fault(
                f"{max_target} bytes are more than the whole head may have"
                f" (max_header = {max_header})"
            )
        return max_target
