"""What happened to endpoints lately: a line in the error log each, and a bounded list.

Runs in: steward.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastgate.control.logs import Log

# As many as `fastgate status --json` shows; the error log has them all.
MOST_EVENTS = 256


class Events:
    """The newest changes of endpoints, oldest first."""

    def __init__(self, log: "Log") -> None:
        self._log = log
        self._newest: deque[dict[str, str]] = deque(maxlen=MOST_EVENTS)

    def add(
        self, upstream: str, endpoint: str, what: str, cause: str, more: str = ""
    ) -> None:
        """Tell one change, everywhere.

        what   what the endpoint is now: down, up, draining, of weight 3
        cause  why, in words
        more   words for the log alone
        """
        self._newest.append(
            {
                "at": timestamp(time.time()),
                "upstream": upstream,
                "endpoint": endpoint,
                "what": what,
                "cause": cause,
            }
        )
        text = f"endpoint {endpoint} (upstream {upstream}) is {what}: {cause}{more}"
        self._log.warning(text)

    def listed(self) -> list[dict[str, str]]:
        """Give them all, oldest first."""
        return list(self._newest)


def timestamp(now_s: float) -> str:
    """Write a time of the Unix clock: ISO 8601, UTC, milliseconds."""
    whole, ms = divmod(int(now_s * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{ms:03}Z"
