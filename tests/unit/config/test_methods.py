"""Names of methods in a configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastgate.config.methods import FORWARDED, read_methods
from fastgate.config.units import BadValueError


@pytest.mark.parametrize(
    ("raw", "methods"),
    [
        ("", ()),
        ([], ()),
        ("DELETE", ("DELETE",)),
        (" TRACE , TRACK,", ("TRACE", "TRACK")),
        (["M-SEARCH", "FOO", "foo", "x'y~"], ("M-SEARCH", "FOO", "foo", "x'y~")),
        ("A" * 32, ("A" * 32,)),
        ([f"X{n}" for n in range(64)], tuple(f"X{n}" for n in range(64))),
    ],
)
def test_a_list_of_methods_is_read_as_it_stands(
    raw: object, methods: tuple[str, ...]
) -> None:
    assert read_methods(raw) == methods


@pytest.mark.parametrize(
    ("raw", "message", "suggestion"),
    [
        (7, "7 is not a list of methods", None),
        ([7], "7 is not a method (RFC 9110 9.1)", None),
        ([""], "'' is not a method", None),
        ("GET POST", "'GET POST' is not a method", None),
        ("GET/", "'GET/' is not a method", None),
        (["GET\n"], "is not a method", None),
        (["ÄNDERN"], "is not a method", None),
        ("A" * 33, "is longer than 32 bytes", None),
        ([f"X{n}" for n in range(65)], "65 methods are more than 64", None),
        ("FOO,FOO", "'FOO' is listed twice", None),
        ("get", "'get' is another method than GET", "GET"),
        ("PropFind", "'PropFind' is another method than PROPFIND", "PROPFIND"),
        ("connect", "'connect' is another method than CONNECT", "CONNECT"),
        ("CONNECT", "'CONNECT' is answered 405 always: leave it out", None),
        ("PRI", "'PRI' is HTTP/2's, answered 505 always: leave it out", None),
    ],
)
def test_what_no_listener_could_refuse_is_told(
    raw: object, message: str, suggestion: str | None
) -> None:
    with pytest.raises(BadValueError) as raised:
        read_methods(raw)

    assert message in str(raised.value)
    assert raised.value.suggestion == suggestion


def test_the_documentation_lists_the_methods_that_are_forwarded() -> None:
    page = Path(__file__).parents[3] / "docs" / "life-of-a-request.md"
    rows = re.findall(r"^\| (`[A-Z].*) \| (.*) \|$", page.read_text(), re.MULTILINE)
    listed = [
        method
        for methods, becomes in rows
        if "forwarded" in becomes
        for method in re.findall(r"`([A-Z-]+)`", methods)
    ]

    assert sorted(listed) == sorted(FORWARDED)
