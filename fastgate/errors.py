"""The exceptions that people see, each with its exit code.

Runs in: every process.

Faults of the data plane are values (`dataplane/base/faults.pxd`), never these.
"""

from collections.abc import Sequence
from typing import NamedTuple


def printable(text: str) -> str:
    """Escape what a terminal would obey: one line, no control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Problem(NamedTuple):
    """One thing wrong, and where.

    file        the file's name, or what else was wrong: `--max-body`,
                `FASTGATE_MAX_BODY`, `command line`
    line        1-based; 0 when the place is not in a file
    column      1-based, in characters; 0 when the place is not in a file
    suggestion  what was probably meant, or None
    """

    file: str
    line: int
    column: int
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        """Render `FILE:LINE:COL: message; did you mean 'x'?`."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        hint = f"; did you mean '{self.suggestion}'?" if self.suggestion else ""
        return printable(f"{where}: {self.message}{hint}")


def file_order(problem: Problem) -> tuple[bool, int, int, str]:
    """Sort what a file says by its lines, and all else behind it."""
    return not problem.line, problem.line, problem.column, str(problem)


class FastgateError(Exception):
    """Base of every error that ends a command; `exit_code` is the process's."""

    exit_code = 1


class ConfigError(FastgateError):
    """The configuration cannot be used; carries every problem found, in order.

    subject is what failed its test: a file's name or `command line`.
    """

    exit_code = 1

    def __init__(self, problems: Sequence[Problem], subject: str = "") -> None:
        self.problems = tuple(problems)
        self.subject = subject
        super().__init__("\n".join(str(problem) for problem in self.problems))


class MachineError(ConfigError):
    """The configuration is good, but this machine will not let it run."""

    exit_code = 3


class UsageError(FastgateError):
    """The command line cannot be understood."""

    exit_code = 2


class StartError(FastgateError):
    """The gateway could not start: an address, a permission, a worker."""

    exit_code = 3
