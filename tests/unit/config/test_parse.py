from hypothesis import given
from hypothesis import strategies as st

from fastgate.config.parse import parse


@given(st.text(alphabet="ab.[]{}=\"'\\#,\n 1", max_size=60))
def test_any_text_is_parsed_without_failing(text: str) -> None:
    lines = text.count("\n") + 1

    assert all(1 <= fault.line <= lines for fault in parse(text).faults)


def test_reading_goes_on_after_a_line_that_is_no_toml() -> None:
    parsed = parse('a = 1\nb = \n"c" 2\nd = 4\n')

    assert parsed.data == {"a": 1, "d": 4}
    assert [fault.line for fault in parsed.faults] == [2, 3]
    assert parsed.places["d",] == (4, 1)
    assert not parsed.lost_a_header


def test_a_header_that_is_no_toml_takes_its_table_with_it() -> None:
    parsed = parse("[a\nx = 1\n[b]\ny = 2\n")

    assert parsed.data == {"b": {"y": 2}}
    assert parsed.lost_a_header


def test_a_number_beyond_what_python_reads_is_a_fault() -> None:
    parsed = parse("a = " + "9" * 5000)

    assert len(parsed.faults) == 1


def test_nesting_without_end_is_a_fault() -> None:
    parsed = parse("a = " + "[" * 100_000)

    assert len(parsed.faults) == 1


def test_a_string_that_never_ends_is_a_fault() -> None:
    parsed = parse('a = """never\nending\n')

    assert len(parsed.faults) >= 1
