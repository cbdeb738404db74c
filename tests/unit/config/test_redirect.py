"""Where a redirect may lead."""

import pytest

from fastgate.config.redirect import PLACEHOLDERS, Place, parse_target, place_of
from fastgate.config.units import BadValueError

HOST, PATH, QUERY, SCHEME = range(len(PLACEHOLDERS))


def test_the_placeholders_keep_their_numbers() -> None:
    assert PLACEHOLDERS == ("host", "path", "query", "scheme")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("https://example.org{path}", ("https://example.org", PATH)),
        ("https://{host}{path}{query}", ("https://", HOST, PATH, QUERY)),
        ("{scheme}://{host}:8443/", (SCHEME, "://", HOST, ":8443/")),
        ("https://www.{host}{query}", ("https://www.", HOST, QUERY)),
        ("HTTP://[::1]:80/a%20b#c", ("HTTP://[::1]:80/a%20b#c",)),
        (" /new{path} ", ("/new", PATH)),
        ("{path}/", (PATH, "/")),
        ("/", ("/",)),
        ("/login?to={path}", ("/login?to=", PATH)),
        ("http://a:65535{path}{query}#a", ("http://a:65535", PATH, QUERY, "#a")),
    ],
)
def test_a_target_is_cut_at_its_placeholders(
    text: str, pieces: tuple[str | int, ...]
) -> None:
    assert parse_target(text) == pieces


@pytest.mark.parametrize(
    ("text", "message", "suggestion"),
    [
        (5, "5 is not a text", None),
        ("", "begins with neither", None),
        ("example.org", "begins with neither", None),
        ("{query}", "begins with neither", None),
        ("ftp://example.org/", "begins with neither", None),
        ("javascript:alert(1)", "begins with neither", None),
        ("https:/example.org", "begins with neither", None),
        ("https://", "names no HOST", None),
        ("https:///a", "names no HOST", None),
        ("https://{path}", "names no HOST", None),
        ("https://user@example.org", "names no HOST", None),
        ("https://example.org:port/", "names no HOST", None),
        ("https://example.org:8080{host}", "names no HOST", None),
        ("https://{scheme}/", "names no HOST", None),
        ("//example.org/", "leads to another host", None),
        ("/{path}{query}", "leads to another host", "{path}{query}"),
        ("{path}", "leads to where it was asked for", None),
        ("{path}{query}", "leads to where it was asked for", None),
        ("/a{path}{path}", "holds {path} twice", None),
        ("/{hots}", "'{hots}' is not one of {host}, {path}", "{host}"),
        ("/{PATH}", "'{PATH}' is not one of", "{path}"),
        ("/{}", "'{}' is not one of", None),
        ("/{path", "brace without its other", None),
        ("/a}", "brace without its other", None),
        ("https://$host$request_uri", "holds a '$'", "https://{host}{path}{query}"),
        ("https://$server_name/", "holds a '$'", None),
        (
            "https://$http_host/",
            "{host} has no port, unlike $http_host",
            "https://{host}/",
        ),
        ("/a?$args", "holds a '$'", "/a{query}"),
        ("/a?$query_string", "holds a '$'", "/a{query}"),
        ("/a?{query}", "holds {query} behind '?'", "/a{query}"),
        ("https://a?{query}", "holds {query} behind '?'", "https://a{query}"),
        ("/a?b=c{query}", "holds {query} behind '?'", None),
        ("{path}#a{query}", "holds {query} behind '#'", None),
        ("https://example.org:65536/", "port 65536 is outside 1..65535", None),
        ("https://{host}:0{path}", "port 0 is outside 1..65535", None),
        ("/a b", "' ' is written %20", None),
        ("/ä", "'ä' is written %C3%A4", None),
        ("/a\\b", "is written %5C", None),
        ("/%", "is written %25", None),
        ("/%zz", "is written %25", None),
        ("/a\r\nSet-Cookie: a=b", "holds a control character", None),
        ("/a\x00", "holds a control character", None),
        ("/a\x85", "holds a control character", None),
        ("/" + "a" * 4096, "is longer than 4096 bytes", None),
    ],
)
def test_a_target_that_leads_nowhere_or_elsewhere_is_refused(
    text: object, message: str, suggestion: str | None
) -> None:
    with pytest.raises(BadValueError) as raised:
        parse_target(text)

    assert message in str(raised.value)
    assert raised.value.suggestion == suggestion


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/a?b", Place(None, None, None, "/a")),
        ("{path}{query}", Place(None, None, None, "{path}")),
        ("/a{query}#b", Place(None, None, None, "/a")),
        ("/{query}{path}", Place(None, None, None, "/{query}{path}")),
        ("HTTP://A.example", Place("http", "a.example", None, "/")),
        ("{scheme}://{host}:81{path}#a", Place("{scheme}", "{host}", 81, "{path}")),
        ("https://[::1]:80?b", Place("https", "[::1]", 80, "/")),
    ],
)
def test_a_target_says_where_it_leads(target: str, place: Place) -> None:
    assert place_of(target) == place
