"""One canonical form of a host, and the primary reading of a path."""

import string

import parser_probe as probe
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()


@pytest.mark.parametrize(
    ("text", "host", "authority", "port"),
    [
        (b"example.com", b"example.com", b"example.com", 0),
        (b"example.com:8080", b"example.com", b"example.com:8080", 8080),
        (b"Example.COM", b"example.com", b"example.com", 0),
        (b"Example.COM:1", b"example.com", b"example.com:1", 1),
        (b"example.com.", b"example.com", b"example.com", 0),
        (b"example.com.:65535", b"example.com", b"example.com:65535", 65535),
        (b"a_b-c.d", b"a_b-c.d", b"a_b-c.d", 0),
        (b"127.0.0.1:80", b"127.0.0.1", b"127.0.0.1:80", 80),
        (b"[::1]", b"[::1]", b"[::1]", 0),
        (b"[::1]:443", b"[::1]", b"[::1]:443", 443),
        (b"[2001:DB8:0:0::1]:443", b"[2001:db8::1]", b"[2001:db8::1]:443", 443),
        (b"[::FFFF:10.0.0.1]", b"[::ffff:10.0.0.1]", b"[::ffff:10.0.0.1]", 0),
        (b"xn--bcher.example", b"xn--bcher.example", b"xn--bcher.example", 0),
        (b"localhost:", b"localhost", b"localhost", 0),
        (b"localhost:0080", b"localhost", b"localhost:80", 80),
        (b"A.:00080", b"a", b"a:80", 80),
        (b"[::1]:", b"[::1]", b"[::1]", 0),
        (b"[::1]:080", b"[::1]", b"[::1]:80", 80),
        (b"[0::1]:080", b"[::1]", b"[::1]:80", 80),
        (b"a!b.example.com", b"a!b.example.com", b"a!b.example.com", 0),
        (b"a~$&'()*+;=B", b"a~$&'()*+;=b", b"a~$&'()*+;=b", 0),
        (b"a" * 255, b"a" * 255, b"a" * 255, 0),
    ],
)
def test_a_host_has_one_form(
    text: bytes, host: bytes, authority: bytes, port: int
) -> None:
    assert probe.canonical_host(text) == (host, authority, port)


@pytest.mark.parametrize(
    "text",
    [
        b"", b".", b"..", b".a", b"a..b", b"a..", b":80", b"a:0", b":",
        b"a:65536", b"a:123456", b"a:-1", b"a:+1", b"a:8a", b"a:80:80", b"a b",
        b"a,b", b"a/b", b"a/b@c", b"u@a", b"u:p@a", b"a\\b", b"a%20b", b"a?b", b"a#b",
        b"a\x00b", b"\xc3\xa9.example", b"a\tb", b"<a>", b"a" * 256,
        b"[", b"[]", b"[::1", b"[::1]x", b"[::1]:0", b"[1.2.3.4]", b"[g::]",
        b"[::1%25eth0]", b"[::1]]", b"[v1.a]", b"[::1\x00]", b"::1", b"[" + b"1" * 300,
    ],
)  # fmt: skip
def test_what_is_not_a_host_is_refused(text: bytes) -> None:
    assert probe.canonical_host(text) == "bad-host"


@given(st.text("aB1-_.:[]", min_size=1, max_size=12).map(str.encode))
@example(b"[::1]:80")
@example(b"[0:0::0001]")
def test_the_canonical_host_is_its_own_canonical_form(text: bytes) -> None:
    once = probe.canonical_host(text)

    if once != "bad-host":
        host, authority, port = once
        assert probe.canonical_host(authority) == once
        assert probe.canonical_host(host) == (host, host, 0)
        assert authority == host + (b":%d" % port if port else b"")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a/b", b"/a/b", b""),
        (b"/a/b/", b"/a/b/", b""),
        (b"/a?b=c", b"/a", b"?b=c"),
        (b"/?", b"/", b"?"),
        (b"/a?/../b", b"/a", b"?/../b"),
        (b"/a?%2e%zz;%00\\", b"/a", b"?%2e%zz;%00\\"),
        (b"//admin", b"/admin", b""),
        (b"/a//b///c", b"/a/b/c", b""),
        (b"/./a", b"/a", b""),
        (b"/a/.", b"/a/", b""),
        (b"/a/./b", b"/a/b", b""),
        (b"/a/..", b"/", b""),
        (b"/a/../b", b"/b", b""),
        (b"/a/b/..", b"/a/", b""),
        (b"/a/b/../", b"/a/", b""),
        (b"/a//../b", b"/b", b""),
        (b"/pub/%2e%2e/admin", b"/admin", b""),
        (b"/pub/.%2E/admin", b"/admin", b""),
        (b"/%61dmin", b"/admin", b""),
        (b"/%41%7E%7e", b"/A~~", b""),
        (b"/%e4%b8%ad", b"/%E4%B8%AD", b""),
        (b"/a%20b", b"/a%20b", b""),
        (b"/a%3fb", b"/a%3Fb", b""),
        (b"/a%25b", b"/a%25b", b""),
        (b"/%2525", b"/%2525", b""),
        (b"/.well-known/x", b"/.well-known/x", b""),
        (b"/...", b"/...", b""),
        (b"/..a", b"/..a", b""),
        (b"/a|b", b"/a%7Cb", b""),
        (b'/"<>[]^`{|}', b"/%22%3C%3E%5B%5D%5E%60%7B%7C%7D", b""),
        (b"/a:b@c!$&'()*+,=", b"/a:b@c!$&'()*+,=", b""),
        (b"/Case/Kept", b"/Case/Kept", b""),
        (b"/%c3%a9", b"/%C3%A9", b""),
        (b"/a%2fb", b"/a%2Fb", b""),
        (b"/a%5cb", b"/a%5Cb", b""),
        (b"/a\\b", b"/a%5Cb", b""),
        (b"/a;v=1/b", b"/a;v=1/b", b""),
        (b"/a%3bb", b"/a%3Bb", b""),
        (b"/a;/../b", b"/b", b""),
        (b"/a/..;/b", b"/a/..;/b", b""),
    ],
)
def test_a_target_has_one_path(target: bytes, path: bytes, query: bytes) -> None:
    assert probe.canonical_target(target) == (path, query)


@pytest.mark.parametrize(
    "target",
    [
        b"", b"a", b"*", b"?a", b"/..", b"/../", b"/../a", b"/a/../..", b"/./..",
        b"/%2e%2e", b"/.%2e/a", b"/a/%2e%2e/%2e%2e/b", b"/%00", b"/a%00b", b"/%",
        b"/%2", b"/%zz", b"/%u0041", b"/% 20", b"/a b", b"/a\tb",
        b"/a\x00", b"/a\x7f", b"/a\x80", b"/\xc3\xa9", b"/a#b", b"/a?b#c", b"/a?b c",
        b"/a?\x80", b"/a?\x7f", b"/%c0%ae%c0%ae", b"/%C1%9C", b"/%e0%80%af",
        b"/%f0%80%80%af", b"/a?b\tc",
    ],
)  # fmt: skip
def test_a_malformed_target_is_refused(target: bytes) -> None:
    assert probe.canonical_target(target) == "bad-target"


@pytest.mark.parametrize(
    ("target", "odd"),
    [
        (b"/", set()),
        (b"/a/b.c/.well-known/..d/...?x=//../%2f;", set()),
        (b"/a%20b%c3%a9|[x]", set()),
        (b"/a//b", {"slashes"}),
        (b"/a/./b", {"dots"}),
        (b"/a/b/..", {"dots"}),
        (b"/a/..;x", {"dots", "semicolon"}),
        (b"/a;b", {"semicolon"}),
        (b"/a\\b", {"backslash"}),
        (b"/a/..\\b", {"dots", "backslash"}),
        (b"/a%2eb", {"escaped-dot"}),
        (b"/a/%2e%2E/b", {"dots", "escaped-dot"}),
        (b"/a%2f..%2Fb", {"dots", "escaped-slash"}),
        (b"/a%2fb", {"escaped-slash"}),
        (b"/a%25b", {"escaped-percent"}),
        (b"/a%3bb", {"escaped-semicolon"}),
        (b"/a%5Cb", {"escaped-backslash"}),
        (b"/%7Ejoe", {"unreserved"}),
        (b"/%40scope", {"reserved"}),
    ],
)
def test_what_others_may_read_otherwise_is_told(target: bytes, odd: set[str]) -> None:
    assert probe.oddities(target) == odd


@pytest.mark.parametrize("byte", range(256))
def test_every_escape_has_one_reading(byte: int) -> None:
    upper = probe.canonical_target(b"/x%%%02Xy" % byte)
    lower = probe.canonical_target(b"/x%%%02xy" % byte)

    assert upper == lower
    if byte == 0:
        assert upper == "bad-target"
    elif byte in UNRESERVED:
        assert upper == (b"/x" + bytes([byte]) + b"y", b"")
    else:
        assert upper == (b"/x%%%02Xy" % byte, b"")


@pytest.mark.parametrize("target", [b"/", b"/a/b.html?x=1", b"/A-._~!$&'()*+,=:@/"])
def test_a_canonical_path_is_borrowed_and_not_copied(target: bytes) -> None:
    assert probe.target_is_borrowed(target)


@pytest.mark.parametrize("target", [b"/a/./b", b"/%41", b"/a|b"])
def test_another_path_is_written_afresh(target: bytes) -> None:
    assert not probe.target_is_borrowed(target)


@pytest.mark.parametrize("room", range(40))
def test_a_form_that_does_not_fit_is_too_long_and_writes_nothing_past(
    room: int,
) -> None:
    told = probe.canonical_target(b"/" + b"|" * 10, room)

    assert told in ("target-too-long", (b"/" + b"%7C" * 10, b""))
    assert (told == "target-too-long") == (room < 32)


PIECES = st.sampled_from(
    [b"/", b"//", b".", b"..", b"%2e", b"%2E%2e", b"a", b"Z", b"%41", b"%7c", b"|",
     b"%2f", b"%5c", b"\\", b";", b"%3b", b"?", b"%25", b"%c3%a9", b"%20", b"~"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12))
def test_the_primary_reading_is_its_own_primary_reading(pieces: list[bytes]) -> None:
    once = probe.canonical_target(b"/" + b"".join(pieces))

    if once != "bad-target":
        path, query = once
        assert probe.canonical_target(path + query) == once
        assert path.startswith(b"/")
        assert b"//" not in path
        assert not {b".", b".."} & set(path.split(b"/"))


def reference_path(path: str) -> str | None:
    """The slow and plain way, on segments; None for a climb above the root."""
    out: list[str] = []
    segments = path.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            if not out:
                return None
            out.pop()
        if segment in {"", ".", ".."}:
            if last:
                out.append("")
        else:
            out.append(segment)
    return "/" + "/".join(out)


@given(st.lists(st.sampled_from(["/", ".", "..", "a", "b"]), max_size=14))
def test_dot_segments_agree_with_a_plain_reference(pieces: list[str]) -> None:
    path = "/" + "".join(pieces)
    told = probe.canonical_target(path.encode())
    expected = reference_path(path)

    if expected is None:
        assert told == "bad-target"
    else:
        assert told == (expected.encode(), b"")
