"""The settings of `knobs/headers.py`.

Runs in: every process (imported only where configuration is read).
"""

from typing import Literal

from pydantic import field_validator

from fastgate.config.bounds import SERVER_BYTES
from fastgate.config.checks import check_header_value, check_hop_name, fault
from fastgate.config.model.settings import Settings, knob


class Headers(Settings):
    """What is added, and who is believed."""

    server_header: str = knob("server_header")
    via: bool = knob("via")
    via_name: str = knob("via_name")
    forwarded: bool = knob("forwarded")
    x_forwarded: bool = knob("x_forwarded")
    request_id: bool = knob("request_id")
    trusted_proxies: tuple[str, ...] = knob("trusted_proxies")
    underscores: Literal["safe", "drop", "pass"] = knob("underscores")
    ambiguous_paths: Literal["routes", "reject", "keep"] = knob("ambiguous_paths")

    @field_validator("via_name")
    @classmethod
    def _is_received_by(cls, text: str) -> str:
        check_hop_name(text)
        return text

    @field_validator("server_header")
    @classmethod
    def _is_a_header_value(cls, text: str) -> str:
        check_header_value("Server", text)
        if len(text.encode()) > SERVER_BYTES:
            raise fault(f"it is longer than {SERVER_BYTES} bytes")
        return text
