from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgate.config import units
from fastgate.config.units import BadValueError


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1m30s", 90_000),
        ("0.5s", 500),
        ("0.001s", 1),
        ("0", 0),
        (30, 30_000),
        (0.25, 250),
        ("30", 30_000),
        (" 30s ", 30_000),
    ],
)
def test_a_duration_is_read_as_milliseconds(text: object, ms: int) -> None:
    assert units.parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1s", "1 s", "1e3s", "0.5ms", "1.0001s", "s30", "30S ", "٣s", "1" * 99],
)
def test_what_is_no_whole_number_of_milliseconds_is_refused(text: str) -> None:
    with pytest.raises(BadValueError):
        units.parse_duration_ms(text)


@pytest.mark.parametrize(
    "raw",
    [
        True,
        None,
        [],
        {},
        float("nan"),
        float("inf"),
        -1,
        1e300,
        pytest.param(1 << 99_999, id="huge"),
    ],
)
def test_a_duration_of_the_wrong_type_is_refused(raw: object) -> None:
    with pytest.raises(BadValueError):
        units.parse_duration_ms(raw)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("10sec", "10s"), ("5 min", "5m"), ("2hours", "2h"), ("30S", "30s"), ("9x", None)],
)
def test_a_duration_in_other_words_gets_a_suggestion(
    text: str, meant: str | None
) -> None:
    with pytest.raises(BadValueError) as raised:
        units.parse_duration_ms(text)

    assert raised.value.suggestion == meant


@given(st.integers(min_value=0, max_value=10**12))
def test_every_duration_survives_being_written(ms: int) -> None:
    assert units.parse_duration_ms(units.format_duration(ms)) == ms


@given(
    st.integers(min_value=0, max_value=10**12), st.sampled_from(["ms", "s", "m", "h"])
)
def test_a_duration_scales_with_its_unit(number: int, unit: str) -> None:
    expected = number * units.DURATION_MS[unit]

    assert units.parse_duration_ms(f"{number}{unit}") == expected


@given(st.decimals(0, 10**6, places=3))
def test_decimal_seconds_are_exact(seconds: object) -> None:
    assert units.parse_duration_ms(f"{seconds}s") == seconds * 1000  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("8k", 8192),
        ("16m", 16 << 20),
        ("1g", 1 << 30),
        ("8K", 8192),
        ("8KiB", 8192),
        ("8kb", 8192),
        ("100b", 100),
        ("1.5k", 1536),
        (4096, 4096),
        ("4096", 4096),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_bytes(text: object, size_bytes: int) -> None:
    assert units.parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "k", "-1k", "1t", "1 k", "0.3k", "1.5", True, []])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(BadValueError):
        units.parse_size_bytes(text)


def test_a_size_in_other_words_gets_a_suggestion() -> None:
    with pytest.raises(BadValueError) as raised:
        units.parse_size_bytes("10 megabytes")

    assert raised.value.suggestion == "10m"


@given(st.integers(min_value=0, max_value=10**18))
def test_every_size_survives_being_written(size_bytes: int) -> None:
    assert units.parse_size_bytes(units.format_size(size_bytes)) == size_bytes


@given(st.integers(min_value=0, max_value=10**12))
def test_every_rate_survives_being_written(rate: int) -> None:
    assert units.parse_rate(units.format_rate(rate)) == rate


@pytest.mark.parametrize("text", ["240", "240B/s", "240b", "240/s", 240])
def test_a_rate_may_leave_its_unit_out(text: object) -> None:
    assert units.parse_rate(text) == 240


@pytest.mark.parametrize("text", ["20%", "20", 20, "20 %"])
def test_a_percentage_may_leave_its_sign_out(text: object) -> None:
    assert units.parse_percent(text) == 20


@pytest.mark.parametrize("text", ["", "%", "-1%", "0.5", 0.2, True])
def test_a_percentage_is_a_whole_number(text: object) -> None:
    with pytest.raises(BadValueError):
        units.parse_percent(text)


@pytest.mark.parametrize("text", ["on", "ON", "true", "yes", "1", 1, True])
def test_a_switch_is_on_in_many_words(text: object) -> None:
    assert units.parse_switch(text) is True


@pytest.mark.parametrize("text", ["off", "Off", "false", "no", "0", 0, False])
def test_a_switch_is_off_in_many_words(text: object) -> None:
    assert units.parse_switch(text) is False


@pytest.mark.parametrize("text", ["maybe", "", 2, 1.0, None, []])
def test_a_switch_is_nothing_else(text: object) -> None:
    with pytest.raises(BadValueError):
        units.parse_switch(text)


@given(st.text())
def test_any_text_is_read_or_refused_and_never_fails(text: str) -> None:
    for parse in (
        units.parse_duration_ms,
        units.parse_size_bytes,
        units.parse_rate,
        units.parse_percent,
        units.parse_count,
    ):
        with suppress(BadValueError):
            assert parse(text) >= 0


@given(st.text())
def test_a_shown_text_is_one_printable_line(text: str) -> None:
    shown = units.show(text)

    assert shown.isprintable()
    assert len(shown) <= 700
