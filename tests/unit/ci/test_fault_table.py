"""The table of faults in the documentation is the compiled one."""

import re
import runpy
from pathlib import Path

import pytest

from fastgate._core import FAULTS

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = runpy.run_path(str(ROOT / "ci" / "fault_table.py"))
PAGE = SCRIPT["PAGE"].read_text("utf-8")


def test_the_page_is_what_the_code_says() -> None:
    assert SCRIPT["renewed"](PAGE, FAULTS) == PAGE, "run: python ci/fault_table.py"


def test_each_fault_says_when_it_is_given() -> None:
    assert [reason for reason, fault in FAULTS.items() if not fault["when"]] == []


def test_a_fault_that_changes_changes_its_row_and_nothing_else() -> None:
    changed = {**FAULTS, "no-route": {**FAULTS["no-route"], "when": "a|b"}}

    before = PAGE.splitlines()
    after = SCRIPT["renewed"](PAGE, changed).splitlines()

    assert [line for line in after if line not in before] == [
        "| `no-route` | 404 | gateway | no | a\\|b |"
    ]
    assert len(after) == len(before)


def test_a_page_without_the_table_is_not_written() -> None:
    with pytest.raises(ValueError, match="no table"):
        SCRIPT["renewed"]("# Another page\n", FAULTS)


def test_the_page_lists_what_ejects_an_endpoint() -> None:
    listed = re.search(r"before it answered \(([^)]*)\)", PAGE)
    assert listed

    ejects = [reason for reason, fault in FAULTS.items() if fault["ejects"]]
    assert sorted(re.findall(r"`([a-z-]+)`", listed[1])) == sorted(ejects)
