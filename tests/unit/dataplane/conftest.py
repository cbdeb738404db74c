"""Engines that are turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.lab import Lab

MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab() -> Iterator[MakeLab]:
    labs: list[Lab] = []

    def make(*args: Any, **kwargs: Any) -> Lab:
        labs.append(Lab(*args, **kwargs))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()
