"""Every reader of a path that is forwarded takes it to the route that was chosen."""

import posixpath
import random
import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
import readings_probe as probe
from fastgate.dataplane.route.router import Router
from support.real_paths import APPS, App

PATHS = 100_000
TABLES = 400

# --- five readers, and some more, each as somebody would write it in an afternoon ---
#
# A reader gives the path that its application's own rules are matched with, None
# where it would refuse the request. None of them shares code with the data plane.


def resolved(path: bytes) -> bytes:
    """posixpath.normpath, with the slash at the end that http.server keeps."""
    settled = b"/" + posixpath.normpath(path).lstrip(b"/")
    return settled + b"/" if path.endswith(b"/") and settled != b"/" else settled


def http_server(path: bytes) -> bytes | None:
    """urllib.parse.unquote, then posixpath.normpath, as http.server has it."""
    return resolved(unquote_to_bytes(path))


def wsgi(path: bytes) -> bytes | None:
    """PATH_INFO is decoded by the server; the application matches it as it is."""
    return unquote_to_bytes(path)


def tomcat(path: bytes) -> bytes | None:
    """Cut `;parameters` from each segment, decode, then normalise (`\\` counts)."""
    cut = b"/".join(segment.split(b";")[0] for segment in path.split(b"/"))
    settled = re.sub(b"/+", b"/", unquote_to_bytes(cut).replace(b"\\", b"/"))
    out: list[bytes] = []
    for segment in settled.split(b"/")[1:]:
        if segment == b"..":
            if not out:
                return None
            out.pop()
        elif segment != b".":
            out.append(segment)
    return b"/" + b"/".join(out)


def windows(path: bytes) -> bytes | None:
    """Decode, take `\\` for `/`, resolve."""
    return resolved(unquote_to_bytes(path).replace(b"\\", b"/"))


def literal(path: bytes) -> bytes | None:
    """Match the bytes as they came; escapes differ in the case of hex at most."""
    return re.sub(b"%..", lambda escape: escape[0].upper(), path)


def removed(path: bytes) -> bytes | None:
    """remove_dot_segments of RFC 3986, `%2e` being a dot as browsers have it."""
    out: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        plain = re.sub(b"(?i)%2e", b".", segment)
        if plain == b"..":
            if not out:
                return None
            out.pop()
        elif plain != b".":
            out.append(segment)
    if re.sub(b"(?i)%2e", b".", segments[-1]) in (b".", b".."):
        out.append(b"")
    return b"/" + b"/".join(out)


def browser(path: bytes) -> bytes | None:
    """Take `\\` for `/` and resolve, then decode what is left."""
    settled = removed(path.replace(b"\\", b"/"))
    return settled and unquote_to_bytes(settled)


def merger(path: bytes) -> bytes | None:
    """Decode, merge slashes, resolve: nginx, but for `%2e` that was `%252e`."""
    return removed(re.sub(b"/+", b"/", unquote_to_bytes(path)))


def chain(path: bytes) -> bytes | None:
    """Two of those, the first of which sends on what it decoded."""
    once = merger(path)
    return once and merger(once)


def late_cutter(path: bytes) -> bytes | None:
    """Decode, and cut `;parameters` only then."""
    cut = b"/".join(s.split(b";")[0] for s in unquote_to_bytes(path).split(b"/"))
    return removed(cut)


def early_cutter(path: bytes) -> bytes | None:
    """Cut `;parameters`, decode, and leave it at that."""
    return unquote_to_bytes(b"/".join(s.split(b";")[0] for s in path.split(b"/")))


DECODING = (http_server, wsgi, tomcat, windows)
MORE = (browser, merger, chain, late_cutter, early_cutter)
READERS: tuple[Callable[[bytes], bytes | None], ...] = (*DECODING, *MORE, literal)


def route_of(rows: list[tuple[bool, bytes]], path: bytes) -> int:
    """The exact path, then the longest prefix of whole segments; -1: none."""
    best = -1
    for index, (is_exact, text) in enumerate(rows):
        if is_exact:
            if path == text:
                return index
        elif (
            path == text
            or path.startswith(text if text.endswith(b"/") else text + b"/")
        ) and (best < 0 or len(text) > len(rows[best][1])):
            best = index
    return best


# --- what is generated -------------------------------------------------------------

WORDS = ["a", "b", "admin", "public", "x", "~joe", "@scope", "%C3%A9t%C3%A9", "a%20b"]
ENDS = ["/", "//", "\\", "%2f", "%2F", "%5c", "%252f", "/./", "/../", ";/", "/;x/"]
ODD = ["..", ".", "%2e%2e", "%2E.", "..;", "..;v=1", "%252e%252e", "", ";", "..%2f",
       "..\\", "%2e", "...", ".%2e;x", "%3b", "..%3b", "%25", "%40", "%7e"]  # fmt: skip


def random_table(draw: random.Random) -> list[tuple[str, str]]:
    """Rows of (kind, path), no two the same."""
    rows = set()
    for _ in range(draw.randint(1, 6)):
        path = "/" + "/".join(draw.sample(WORDS, draw.randint(0, 3)))
        if path != "/" and draw.random() < 0.2:
            path += "/"
        rows.add((draw.choice(["exact", "prefix", "prefix"]), path))
    return sorted(rows)


def escaped(draw: random.Random, word: str) -> str:
    """The word, with some of its letters as escapes, in either case."""
    out = ""
    for letter in re.findall("%..|.", word):
        spelled = letter if len(letter) == 3 else f"%{ord(letter):02x}"
        shown = spelled if draw.random() < 0.15 else letter
        out += shown.lower() if draw.random() < 0.5 and len(shown) == 3 else shown
    return out


def random_path(draw: random.Random, rows: list[tuple[str, str]]) -> bytes:
    """A path near the table's own, bent in up to a few places."""
    words = [*WORDS, *(word for _, path in rows for word in path.split("/") if word)]
    out = draw.choice(["/", "/", "/", "//", "/%2f", "/\\", "/./"])
    for _ in range(draw.randint(1, 4)):
        if draw.random() < 0.35:
            out += draw.choice(ODD)
        else:
            word = draw.choice(words)
            out += escaped(draw, word) if draw.random() < 0.3 else word
        if draw.random() < 0.85:
            out += draw.choice(ENDS) if draw.random() < 0.4 else "/"
    return out.encode()


def test_no_path_reaches_a_service_that_reads_it_as_another_routes() -> None:
    draw = random.Random("readings must agree")
    forwarded = refused = 0
    for _ in range(TABLES):
        rows = random_table(draw)
        router = Router([(None, *row, index) for index, row in enumerate(rows)])
        raw = [(kind == "exact", path.encode()) for kind, path in rows]
        decoded = [(is_exact, unquote_to_bytes(path)) for is_exact, path in raw]
        for _ in range(PATHS // TABLES):
            path = random_path(draw, rows)
            fault, chosen, _ = probe.decide(router, path)
            if fault is not None:
                refused += 1
                continue
            forwarded += 1
            for reader in READERS:
                read = reader(path)
                table = raw if reader is literal else decoded
                if read is not None:
                    assert route_of(table, read) == chosen, (reader, path, rows)
    # Neither everything nor nothing: the test would say nothing.
    assert forwarded + refused == PATHS
    assert min(forwarded, refused) > PATHS // 5


# --- case by case -------------------------------------------------------------------

SITE = Router(
    [
        (None, "prefix", "/", 0),
        (None, "prefix", "/admin", 1),
        (None, "prefix", "/public", 2),
        (None, "exact", "/public/about", 3),
        (None, "prefix", "/~joe", 4),
        (None, "prefix", "/@scope/", 5),
        (None, "prefix", "/%C3%A9t%C3%A9", 6),
    ]
)


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        (b"/projects/group%2Fname", 0),
        (b"/x;jsessionid=1?%2f..%2fadmin", 0),
        (b"/web/2020/http://example.com/a/../b", 0),
        (b"/x/%7Ejoe/%2561", 0),
        (b"/a\\b//c;d/%5c./%252e", 0),
        (b"/public/a/../b", 2),
        (b"/public/a%2Fb;c//d", 2),
        (b"/admin/%2e/x", 1),
        (b"/@scope/name%2fx", 5),
        (b"/%c3%a9t%c3%a9/x", 6),
    ],
)
def test_a_path_whose_readings_agree_is_forwarded(target: bytes, chosen: int) -> None:
    assert probe.decide(SITE, target) == (None, chosen, chosen)


@pytest.mark.parametrize(
    ("target", "chosen", "other"),
    [
        (b"/public/..%2fadmin", 2, 1),
        (b"/public/../admin", 1, 2),
        (b"/public/%2e%2e/admin", 1, 2),
        (b"/public/..;/admin", 2, 1),
        (b"/public/..;x=%2F/admin", 2, 1),
        (b"/public\\..\\admin", 0, 2),
        (b"/public%5c..%5cadmin", 0, 2),
        (b"/public%252fabout", 0, 3),
        (b"//admin", 1, 0),
        (b"/%2fadmin", 0, 1),
        (b"/;/admin", 0, 1),
        (b"/.;/admin", 0, 1),
        (b"/%61dmin", 1, 0),
        (b"/%2561dmin", 0, 1),
        (b"/admin;x", 0, 1),
        (b"/admin%3bx", 0, 1),
        (b"/admin%2f", 0, 1),
        (b"/public/about/.", 2, 3),
        (b"/%7Ejoe", 4, 0),
        (b"/%40scope/x", 0, 5),
        (b"/@scope%2fname", 0, 5),
        (b"/public/x%2fy/../about", 3, 2),
    ],
)
def test_a_path_whose_readings_differ_is_refused_with_both_routes(
    target: bytes, chosen: int, other: int
) -> None:
    fault, found, another = probe.decide(SITE, target)

    assert (fault, found) == ("ambiguous-path", chosen)
    assert another not in (chosen, probe.TOO_MANY_READINGS)
    assert another == other
    assert probe.decide(SITE, target, "keep") == (None, chosen, chosen)


@pytest.mark.parametrize("mode", ["routes", "keep"])
@pytest.mark.parametrize(
    "target",
    [
        b"/..", b"/a/../..", b"/..%2fa", b"/..;/a", b"/..\\a", b"/a%5c..%5c..",
        b"/%252e%252e/", b"/a//../../b", b"/a;/../..", b"/..%3b/", b"/a%2F..%2f..",
        b"/a/%00", b"/%2500", b"/%25c0%25ae", b"/%25e0%2580%25af", b"/%c0%ae",
    ],
)  # fmt: skip
def test_no_setting_lets_a_path_leave_the_root_or_hide_a_nul(
    mode: str, target: bytes
) -> None:
    assert probe.decide(SITE, target, mode)[0] == "bad-target"


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        (b"/a%2fb", True), (b"/a%5Cb", True), (b"/a;b", True), (b"/a%3Bb", True),
        (b"/a//b", True), (b"/a/./b", True), (b"/a%2eb", True), (b"/a%25b", True),
        (b"/a\\b", True), (b"/a%7Eb", False), (b"/%40a", False), (b"/a%20b", False),
        (b"/.well-known/a", False), (b"/%c3%a9|", False),
    ],
)  # fmt: skip
def test_reject_refuses_whatever_is_odd_though_all_agree(
    target: bytes, refused: bool
) -> None:
    only = Router([(None, "prefix", "/", 0)])

    assert probe.decide(only, target, "reject")[0] == (
        "ambiguous-path" if refused else None
    )
    assert probe.decide(only, target)[0] is None


def test_reject_still_compares_escapes_that_are_not_odd() -> None:
    assert probe.decide(SITE, b"/%61dmin", "reject") == ("ambiguous-path", 1, 0)


def test_a_path_that_no_reading_takes_anywhere_has_no_route() -> None:
    router = Router([(None, "prefix", "/a", 0)])

    assert probe.decide(router, b"/b//c%2f;d") == (None, -1, -1)
    assert probe.decide(router, b"/b/..%2fa") == ("ambiguous-path", -1, 0)


def test_readings_are_looked_up_under_the_host_of_the_request() -> None:
    router = Router(
        [
            (None, "prefix", "/", 0),
            ("a.test", "prefix", "/admin", 1),
            ("*.b.test", "prefix", "/admin", 2),
        ]
    )

    assert probe.decide(router, b"//admin", host=b"a.test")[0] == "ambiguous-path"
    assert probe.decide(router, b"//admin", host=b"x.b.test")[0] == "ambiguous-path"
    assert probe.decide(router, b"//admin", host=b"c.test") == (None, 0, 0)


@pytest.mark.parametrize("mode", ["routes", "keep"])
def test_the_work_for_one_path_is_bounded(mode: str) -> None:
    piece = b"a%2fb;c//d%5ce\\/./%25zz%3b/f%7e/"
    short = b"/" + piece * 8
    long = b"/" + piece * 100
    longest = b"/" + b"a" * (probe.MAX_ODD_PATH_BYTES - 6) + b"//"

    assert probe.decide(SITE, short, mode)[0] is None
    assert probe.decide(SITE, long, mode) == (
        "ambiguous-path", 0, probe.TOO_MANY_READINGS,
    )  # fmt: skip
    assert probe.decide(SITE, longest, mode)[0] is None
    assert probe.decide(SITE, longest + b"aaaa", mode)[0] == "target-too-long"
    assert probe.decide(SITE, b"/" + b"a" * 60_000, mode)[0] is None


# --- what programs in use send --------------------------------------------------------


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_no_path_of_a_program_in_use_is_refused(app: App) -> None:
    rows = [(None, "prefix", path, i) for i, path in enumerate(("/", *app.prefixes))]
    told = {path: probe.decide(Router(rows), path.encode())[0] for path in app.targets}

    assert told == dict.fromkeys(app.targets)


def test_two_hundred_paths_of_programs_in_use_are_judged() -> None:
    assert sum(len(app.targets) for app in APPS) == 200
