import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgate.config.dump import quote
from fastgate.config.locate import Path, Places

TEXT = '''\
# a comment with [brackets] and key = 1
title = "x"

[gateway]
workers = 4
  "quoted key" = 1
text = """
[not.a.table]
key = "no key" # """
literal = \'\'\'
[nor.this]
\'\'\'
time = 1979-05-27 07:32:00

[upstreams.a]
endpoints = [
    "one:1",  # ], [
    { address = "two:2", weight = 3 },
    [ "nested" ],
]
health.path = "/x"
[upstreams.'b.c'.inner]
x = {y = 1, z = { w = 2 }}

[[routes]]
name = "first"
match = { host = "h", path = "}" }
[routes.request_headers]
set = { "X-A" = "#" }
[[routes]]
name = "second"
'''


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("title",), (2, 1)),
        (("gateway",), (4, 2)),
        (("gateway", "workers"), (5, 1)),
        (("gateway", "quoted key"), (6, 3)),
        (("gateway", "text"), (7, 1)),
        (("gateway", "literal"), (10, 1)),
        (("gateway", "time"), (13, 1)),
        (("upstreams",), (15, 2)),
        (("upstreams", "a"), (15, 12)),
        (("upstreams", "a", "endpoints"), (16, 1)),
        (("upstreams", "a", "endpoints", 0), (17, 5)),
        (("upstreams", "a", "endpoints", 1), (18, 5)),
        (("upstreams", "a", "endpoints", 1, "weight"), (18, 26)),
        (("upstreams", "a", "endpoints", 2, 0), (19, 7)),
        (("upstreams", "a", "health"), (21, 1)),
        (("upstreams", "a", "health", "path"), (21, 8)),
        (("upstreams", "b.c", "inner"), (22, 18)),
        (("upstreams", "b.c", "inner", "x", "z", "w"), (23, 19)),
        (("routes", 0), (25, 3)),
        (("routes", 0, "match", "path"), (27, 23)),
        (("routes", 0, "request_headers"), (28, 9)),
        (("routes", 0, "request_headers", "set", "X-A"), (29, 9)),
        (("routes", 1), (30, 3)),
        (("routes", 1, "name"), (31, 1)),
    ],
)
def test_a_key_is_found_in_every_kind_of_table(
    path: Path, place: tuple[int, int]
) -> None:
    tomllib.loads(TEXT)

    assert Places(TEXT)[path] == place


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("gateway", "workers", "deeper"), (5, 1)),
        (("gateway", "missing"), (4, 2)),
        (("routes", 1, "match", "host"), (30, 3)),
        (("nothing", "at", "all"), (1, 1)),
        ((), (1, 1)),
    ],
)
def test_a_key_that_is_not_there_falls_back_to_what_encloses_it(
    path: Path, place: tuple[int, int]
) -> None:
    assert Places(TEXT)[path] == place


def test_the_one_address_stands_for_the_first_of_several() -> None:
    places = Places('[listeners.a]\naddress = ":80"\n')

    assert places["listeners", "a", "addresses", 0] == (2, 1)


def test_lines_that_end_in_cr_lf_are_counted_alike() -> None:
    places = Places(TEXT.replace("\n", "\r\n"))

    assert places["upstreams", "a", "endpoints", 1, "weight"] == (18, 26)


@pytest.mark.parametrize("cut", range(0, len(TEXT), 7))
def test_a_text_cut_anywhere_is_walked_without_failing(cut: int) -> None:
    places = Places(TEXT[:cut])

    line, column = places["routes", 1, "name"]
    assert line >= 1
    assert column >= 1


@given(st.text(alphabet="ab.[]{}=\"'\\#,\n 1", max_size=60))
def test_any_text_is_walked_without_failing(text: str) -> None:
    assert Places(text)["a", "b"] >= (1, 1)


def _write(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{quote(k)} = {_write(v)}" for k, v in value.items())
        return "{" + pairs + "}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(_write(item) for item in value) + "\n]"
    if isinstance(value, str):
        return quote(value)
    return str(value).lower()


def _paths(value: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    if isinstance(value, dict):
        items: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        items = []
    found: list[tuple[Path, Any]] = []
    for key, inner in items:
        found.append(((*path, key), inner))
        found += _paths(inner, (*path, key))
    return found


_VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), _VALUES, max_size=4))
def test_every_key_of_any_document_is_found_where_it_stands(
    data: dict[str, Any],
) -> None:
    text = "".join(f"{quote(key)} = {_write(value)}\n" for key, value in data.items())
    assert tomllib.loads(text) == data
    lines = text.split("\n")
    places = Places(text)

    for path, value in _paths(data):
        line, column = places[path]
        expected = quote(path[-1]) if isinstance(path[-1], str) else _write(value)
        assert path in places
        assert lines[line - 1][column - 1 :].startswith(expected.split("\n")[0])
