"""Settings go into the fields of their rows, or say why they do not."""

from __future__ import annotations

from typing import Any

import pytest
import table_probe as probe

WHOLE: dict[str, Any] = {
    "switch": True,
    "port": 8080,
    "room": 1 << 20,
    "wait": 60_000,
    "buffer": 1 << 16,
    "count": 7,
    "percent": 20,
    "colour": "red",
}


@pytest.mark.parametrize(
    ("key", "field", "low", "high"),
    [
        ("switch", "switch", 0, 255),
        ("port", "port", 0, 65_535),
        ("room", "room_bytes", 0, 2**32 - 1),
        ("count", "count", -(2**31), 2**31 - 1),
        ("wait", "wait_ms", -(2**63), 2**63 - 1),
        ("buffer", "buffer_bytes", 0, 2**63 - 1),
        ("percent", "count", 1, 100),
    ],
)
def test_a_number_fills_its_field_alone_and_one_too_large_says_so(
    key: str, field: str, low: int, high: int
) -> None:
    untouched = probe.filled({})
    for number in (low, high):
        assert probe.filled({key: number}) == untouched | {field: number}
    for number in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"^{key}: {number} is not in "):
            probe.filled({key: number})


@pytest.mark.parametrize("value", ["8080", 8080.0, None])
def test_what_is_no_number_is_refused_with_its_key(value: object) -> None:
    with pytest.raises(ValueError, match=r"^port: .* is not a number"):
        probe.filled({"port": value})


def test_a_word_fills_its_field_with_its_number() -> None:
    assert probe.filled({"colour": "green"})["colour"] == 255


@pytest.mark.parametrize("value", ["blue", "", None, 1])
def test_a_word_that_no_row_knows_is_refused_with_its_key(value: object) -> None:
    with pytest.raises(ValueError, match=r"^colour: .* is not one of red, green"):
        probe.filled({"colour": value})


@pytest.mark.parametrize("missing", sorted(WHOLE))
def test_a_setting_that_is_missing_is_named(missing: str) -> None:
    probe.filled_whole(WHOLE)
    with pytest.raises(KeyError, match=missing):
        probe.filled_whole({k: v for k, v in WHOLE.items() if k != missing})


def test_a_setting_without_a_row_is_passed_over() -> None:
    assert probe.filled({"unheard_of": 1}) == probe.filled({})


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (0, 65_536)])
def test_a_row_cannot_be_bounded_by_what_its_field_does_not_hold(
    low: int, high: int
) -> None:
    with pytest.raises(ValueError, match="port"):
        probe.bounded(low, high)


def test_a_word_cannot_stand_for_what_its_field_does_not_hold() -> None:
    with pytest.raises(ValueError, match="colour"):
        probe.worded({"red": 0, "infrared": 256})
