"""The house rules and the linters, as tests: a bare `pytest` says it all."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Each linter of ci/lint, and the module without which it cannot run.
LINTERS = {
    "ruff": "ruff",
    "format": "ruff",
    "cython": "cython_lint",
    "codespell": "codespell_lib",
    "mypy": "mypy",
    "stubs": "mypy",
    "hints": None,
}


def test_the_sources_keep_to_the_plan_of_the_house() -> None:
    checker = [sys.executable, "ci/check_house.py"]

    done = subprocess.run(
        checker, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("linter", LINTERS)
def test_a_linter_finds_nothing(linter: str) -> None:
    needed = LINTERS[linter]
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed (extra: lint)")
    environment = os.environ | {"FASTGATE_LINT_PYTHON": sys.executable}

    done = subprocess.run(
        ["ci/lint", linter],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_lint_refuses_a_linter_it_does_not_know() -> None:
    environment = os.environ | {"FASTGATE_LINT_PYTHON": sys.executable}

    done = subprocess.run(
        ["ci/lint", "spelling"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "spelling" in done.stderr
