"""The logs: where they go, and what stands in them.

Runs in: every process.
"""

from fastgate.config import bounds
from fastgate.config.knob import DAY_MS, Kind, Knob

GROUP = "logs"

ROWS = (
    Knob(
        key="access_log",
        kind=Kind.TEXT,
        default="off",
        help="where a line per request goes",
        placeholder="PATH",
        words=("off", "stdout", "stderr"),
    ),
    Knob(
        key="access_log_format",
        kind=Kind.CHOICE,
        default="combined",
        help="combined (as nginx writes it); combined-plus: and then reason,"
        " milliseconds, endpoint, request id; or one JSON object per line",
        choices=("combined", "combined-plus", "json"),
    ),
    Knob(
        key="access_log_buffer",
        kind=Kind.SIZE,
        default="64k",
        help="access log bytes held per worker before they are written",
        low=bounds.LEAST_LOG_BUFFER_BYTES,
        high=1 << 24,
    ),
    Knob(
        key="access_log_flush",
        kind=Kind.DURATION,
        default="1s",
        help="longest time an access log line is held",
        low=1,
        high=DAY_MS,
    ),
    Knob(
        key="error_log",
        kind=Kind.TEXT,
        default="stderr",
        help="where the gateway's own messages go",
        placeholder="PATH",
        words=("stderr", "stdout"),
    ),
    Knob(
        key="log_level",
        kind=Kind.CHOICE,
        default="info",
        help="least important message that is written",
        choices=("debug", "info", "warning", "error"),
    ),
)
