"""A place for a child, and what the master knows of the child in it.

Runs in: master.
"""

import os
import time
from dataclasses import dataclass, field

from fastgate.control.backoff import Backoff
from fastgate.control.channel import BadMessageError, Channel, Kind, Message

STEWARD_SLOT = -1
# For leaving at once, and beyond the drain: what closing takes a sound child.
LEAVE_WITHIN_S = 1.0
# One reload that runs, and the one behind it, which all who ask meanwhile share.
MOST_QUESTIONS = 2


@dataclass(eq=False)
class Child:
    """A living process and what the master has promised itself about it.

    All times are CLOCK_MONOTONIC seconds, None = not (yet).

    trusted_s   silence before this moment is not held against it
    ready_s     when it said that it serves
    aborted_s   when it was sent SIGABRT for being stuck
    kill_at_s   when it will be sent SIGKILL
    cut         exchanges that it said it cut when it left
    is_condemned  its end is the master's doing
    questions   reloads that it asked for and has had no answer to
    """

    pid: int
    channel: Channel
    trusted_s: float = field(default_factory=time.monotonic)
    ready_s: float | None = None
    aborted_s: float | None = None
    kill_at_s: float | None = None
    cut: int | None = None
    is_condemned: bool = False
    questions: int = 0

    def hear(self, message: Message) -> None:
        """Keep what it said about itself."""
        if message.kind is Kind.LEFT:
            self.cut = message.value
        elif message.kind is Kind.READY:
            self.ready_s = time.monotonic()
        else:
            self.questions += 1

    def answered(self) -> None:
        """Note that a question of its was; one that waited for it to leave goes now."""
        self.questions = max(0, self.questions - 1)
        if self.is_condemned:
            self.kill_at_s = time.monotonic() + LEAVE_WITHIN_S

    @property
    def due_s(self) -> float | None:
        """When it is killed; not while somebody waits for an answer through it."""
        return None if self.questions else self.kill_at_s

    def signal(self, number: int) -> None:
        """Send a signal. Its pid cannot be another's before it is reaped."""
        os.kill(self.pid, number)

    def stop(self, message: Message, kill_at_s: float) -> None:
        """Tell it to leave, and by when it will be gone."""
        self.channel.send(message)
        self.kill_at_s = kill_at_s
        self.is_condemned = True


@dataclass(eq=False)
class Slot:
    """A place for one child: a worker of a generation, or the steward (STEWARD_SLOT).

    index       its place in the generation, and so its sockets
    row         in shared memory; -1: it has none
    generation  the number of it
    due_s       when to fill it next, CLOCK_MONOTONIC
    """

    index: int
    row: int = -1
    generation: int = 0
    child: Child | None = None
    due_s: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def is_steward(self) -> bool:
        return self.index == STEWARD_SLOT

    @property
    def name(self) -> str:
        return "steward" if self.is_steward else f"worker {self.index}"


def word_of(child: Child, *, may_ask: bool = False) -> Message | None:
    """Read one message of a child: READY once, and after it LEFT once.

    may_ask  between these also RELOAD, of which MOST_QUESTIONS may be unanswered
    Raises ChannelClosedError, and BadMessageError for anything else.
    """
    message = child.channel.receive()
    if message is None:
        return None
    is_first = message == Message(Kind.READY) and child.ready_s is None
    is_last = (
        message == Message(Kind.LEFT, message.value)
        and child.ready_s is not None
        and child.cut is None
    )
    is_question = (
        message == Message(Kind.RELOAD)
        and may_ask
        and child.ready_s is not None
        and child.questions < MOST_QUESTIONS
    )
    if not (is_first or is_last or is_question):
        raise BadMessageError(f"it said {message.kind.name} at the wrong time")
    return message
