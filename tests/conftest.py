"""Fixtures of all tests. Helpers are imported as `support.NAME`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
if importlib.util.find_spec("fastgate") is None:
    sys.path.insert(0, str(TESTS.parent))

from support.rig import Rig  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than two seconds")


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Gateways, origins and clients for one test."""
    rig = Rig()
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture(scope="module")
def module_rig() -> Iterator[Rig]:
    """The same for all tests of a module; ask for `quiet` in each of them."""
    rig = Rig()
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def quiet(module_rig: Rig) -> Iterator[Rig]:
    """The module's rig, held to quietness after this test."""
    yield module_rig
    module_rig.check_quiet()
