"""Hosts and paths that a route matches, in the form that requests are compared in."""

import parser_probe
import pytest
import readings_probe
from fastgate.dataplane.route.router import Router
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from fastgate.config.match import check_path, never_matched
from fastgate.config.model import Match


@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("Example.COM.", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[2001:DB8::0001]", "[2001:db8::1]"),
        ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
        ("日本.test", "xn--wgv71a.test"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_held_as_requests_are_compared(written: str, held: str) -> None:
    assert Match(host=written).host == held


@given(st.ip_addresses(v=6))
def test_a_literal_is_held_as_the_data_plane_writes_it(address: object) -> None:
    written = f"[{address.exploded}]"  # type: ignore[attr-defined]

    host, _, _ = parser_probe.canonical_host(written.encode())
    assert Match(host=written).host == host.decode()


@pytest.mark.parametrize(
    ("host", "meant"),
    [("straße.example", "xn--strae-oqa.example"), ("a.ﬁ.test", "a.xn--")],
)
def test_a_name_that_browsers_may_map_otherwise_is_to_be_written_as_sent(
    host: str, meant: str
) -> None:
    with pytest.raises(ValidationError, match="xn-- form") as caught:
        Match(host=host)

    assert caught.value.errors()[0]["ctx"]["suggestion"].startswith(meant)


@pytest.mark.parametrize("host", ["[::1", "[::1]x", "[::g]", "[]", "é b", "a..é"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        Match(host=host)


@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("/", "/"),
        ("/a%c3%a9", "/a%C3%A9"),
        ("/été", "/%C3%A9t%C3%A9"),
        ("/%61dmin/%7Ejoe", "/admin/~joe"),
        ("/a|b[c]", "/a%7Cb%5Bc%5D"),
        ("/a%20b/", "/a%20b/"),
        ("/@scope/a:b,c=d+e", "/@scope/a:b,c=d+e"),
        ("/.well-known/...", "/.well-known/..."),
        ("/100%25", "/100%25"),
    ],
)
def test_a_path_is_held_as_readings_are_spelled(written: str, held: str) -> None:
    assert Match(path=written).path == held
    assert Match(path_prefix=written).path_prefix == held


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a", "/a"),
        ("/a//b", "/a/b"),
        ("//", "/"),
        ("/a/./b/.", "/a/b/"),
        ("/a/%2e%2e/b", "/b"),
        ("/a//", "/a/"),
        ("/100%", "/100%25"),
    ],
)
def test_a_path_that_no_request_has_is_refused_with_the_form_to_write(
    written: str, meant: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Match(path=written)

    assert caught.value.errors()[0]["ctx"]["suggestion"] == meant


@pytest.mark.parametrize(
    "path",
    [
        *("/a b", "/a\tb", "/a?b", "/a#b", "/..", "/%00", "/%c0%ae", "/\x7f", ""),
        *("/%2f..", "/a/..;x", "/%252e%252e", "/%2500", "/%25c0%25ae", "/..%255c"),
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        Match(path_prefix=path)


@pytest.mark.parametrize(
    ("path", "setting", "says", "meant"),
    [
        ("/a;b", "routes", "';'", None),
        ("/a;b", "reject", "';'", None),
        ("/a%2Fb", "routes", "'%2F'", None),
        ("/a%5Cb", "reject", "'%5C'", None),
        ("/a%2541", "routes", "'%2541'", None),
        ("/100%25", "reject", "'%25'", None),
        ("/%40scope/%2B", "routes", "%40", "/@scope/+"),
    ],
)
def test_a_path_that_its_setting_would_always_refuse_can_never_match(
    path: str, setting: str, says: str, meant: str | None
) -> None:
    message, suggestion = never_matched(path, setting) or ("", "")

    assert says in message
    assert suggestion == meant
    assert never_matched(path, "keep") is None


PIECES = (
    *("a", "Z", "é", "|", "%7e", "%41", "%c3%a9", "/", ".", ";", "%2f", "%5C"),
    *("\\", "%25", "41", "%3b", "%40", "@", "%20", "%2B", "~", ":", "%2e"),
)


@given(
    st.lists(
        st.sampled_from(PIECES),
        max_size=6,
    ).map("".join)
)
@example("%2541")
@example("%25/41")
@example("%2f%2e%2e")
def test_a_route_can_be_matched_by_the_path_that_it_says(text: str) -> None:
    try:
        path = check_path("/" + text)
    except PydanticCustomError:
        return
    only = Router([(None, "exact", path, 0)])

    assert parser_probe.canonical_target(path.encode()) == (path.encode(), b"")
    for setting in ("routes", "reject", "keep"):
        fault, _, _ = readings_probe.decide(only, path.encode(), setting)
        assert (fault is None) == (never_matched(path, setting) is None), setting
