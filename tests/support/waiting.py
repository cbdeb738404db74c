"""Waiting for a fact with a deadline, in place of sleeping for a guess."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01


def eventually(fact: Callable[[], T], *, within_s: float = 1.0, what: str = "") -> T:
    """Call `fact` until it returns something true; return that.

    Raises AssertionError, naming `what` and the last value, after `within_s`.
    """
    deadline = time.monotonic() + within_s
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(fact, "__name__", "fact")
            raise AssertionError(f"{name}: still {value!r} after {within_s} s")
        time.sleep(POLL_S)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
