"""The settings of `knobs/logs.py`.

Runs in: every process (imported only where configuration is read).
"""

from typing import Literal

from fastgate.config.model.settings import Settings, knob


class Logs(Settings):
    """Where they go, and what stands in them."""

    access_log: str = knob("access_log")
    access_log_format: Literal["combined", "combined-plus", "json"] = knob(
        "access_log_format"
    )
    access_log_buffer: int = knob("access_log_buffer")
    access_log_flush: int = knob("access_log_flush")
    error_log: str = knob("error_log")
    log_level: Literal["debug", "info", "warning", "error"] = knob("log_level")
