"""Write the table of faults into docs/life-of-a-request.md, from the compiled one.

Runs in: no process of the gateway; for whoever changes base/faults.pyx.

Usage: python ci/fault_table.py

Rows stand by side and status. A test holds the page to the code.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "life-of-a-request.md"
HEAD = "| reason | status | side | sent again | when |\n"
SIDES = ("client", "gateway", "upstream")
CLIENT_GONE = 499


def table(faults: dict[str, dict[str, Any]]) -> str:
    """Give the table's lines for what `_core.FAULTS` holds."""
    return "".join([HEAD, "|---|---|---|---|---|\n", *rows(faults)])


def rows(faults: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Give a line a fault; those that nobody is told of come last of their side."""

    def place(reason: str) -> tuple[int, bool, int]:
        fault = faults[reason]
        status = fault["status"]
        return SIDES.index(fault["side"]), status == CLIENT_GONE, status

    for reason in sorted(faults, key=place):
        fault = faults[reason]
        sent = ", never sent" if fault["status"] == CLIENT_GONE else ""
        cells = (
            f"`{reason}`",
            f"{fault['status']}{sent}",
            fault["side"],
            "no" if fault["again"] == "never" else f"on `{fault['again']}`",
            fault["when"].replace("|", "\\|"),
        )
        yield "| " + " | ".join(cells) + " |\n"


def renewed(page: str, faults: dict[str, dict[str, Any]]) -> str:
    """Give the page with its table made anew. ValueError: it has none."""
    before, head, rest = page.partition(HEAD)
    if not head:
        raise ValueError(f"no table with the head {HEAD!r}")
    _, end, after = rest.partition("|\n\n")
    return before + table(faults) + end[-1:] + after


def main() -> None:
    """Write the page."""
    sys.path.insert(0, str(ROOT))
    from fastgate._core import FAULTS  # noqa: PLC0415

    PAGE.write_text(renewed(PAGE.read_text("utf-8"), FAULTS), "utf-8")


if __name__ == "__main__":
    main()
