"""Host and path to route: precedence, segments, and a naive reference."""

import pytest
from fastgate.dataplane.route.router import Router
from hypothesis import given
from hypothesis import strategies as st


def router(*rows):
    """A router of rows without their index, which is their place."""
    return Router([(*row, i) for i, row in enumerate(rows)])


def test_an_empty_table_has_no_route():
    assert router().find("a", "/") is None


def test_an_exact_host_beats_a_wildcard_and_a_wildcard_beats_any_host():
    table = router(
        (None, "prefix", "/"),
        ("*.com", "prefix", "/"),
        ("*.example.com", "prefix", "/"),
        ("a.example.com", "prefix", "/"),
    )

    assert table.find("a.example.com", "/") == 3
    assert table.find("b.example.com", "/") == 2
    assert table.find("b.c.example.com", "/") == 2
    assert table.find("example.com", "/") == 1
    assert table.find("com", "/") == 0
    assert table.find("", "/") == 0


def test_a_wildcard_takes_whole_labels_and_at_least_one():
    table = router(("*.example.com", "prefix", "/"))

    assert table.find("example.com", "/") is None
    assert table.find("badexample.com", "/") is None
    assert table.find("a.example.com.evil", "/") is None
    assert table.find("a.b.c.example.com", "/") == 0


def test_an_exact_path_beats_any_prefix_and_a_longer_prefix_a_shorter():
    table = router(
        (None, "prefix", "/"),
        (None, "prefix", "/a"),
        (None, "prefix", "/a/b"),
        (None, "exact", "/a/b"),
    )

    assert table.find("h", "/a/b") == 3
    assert table.find("h", "/a/b/") == 2
    assert table.find("h", "/a/c") == 1
    assert table.find("h", "/b") == 0


def test_a_prefix_matches_whole_segments():
    table = router((None, "prefix", "/a"))

    assert table.find("h", "/a") == 0
    assert table.find("h", "/a/") == 0
    assert table.find("h", "/a/b") == 0
    assert table.find("h", "/ab") is None
    assert table.find("h", "/A") is None
    assert table.find("h", "/") is None


def test_a_prefix_that_ends_in_a_slash_wants_that_slash():
    table = router((None, "prefix", "/a/"))

    assert table.find("h", "/a/x") == 0
    assert table.find("h", "/a/") == 0
    assert table.find("h", "/a") is None


def test_an_exact_path_is_exact():
    table = router((None, "exact", "/a"))

    assert table.find("h", "/a/") is None
    assert table.find("h", "/a?") is None


def test_the_root_prefix_takes_the_asterisk_of_options():
    assert router((None, "prefix", "/")).find("h", "*") == 0
    assert router((None, "prefix", "/a")).find("h", "*") is None
    assert router((None, "exact", "/")).find("h", "*") is None


def test_a_host_whose_paths_do_not_match_passes_on_to_the_less_specific():
    table = router(
        ("a.example.com", "exact", "/only"),
        ("*.example.com", "prefix", "/wild"),
        (None, "prefix", "/any"),
    )

    assert table.find("a.example.com", "/only") == 0
    assert table.find("a.example.com", "/wild/x") == 1
    assert table.find("a.example.com", "/any") == 2
    assert table.find("a.example.com", "/none") is None


def test_one_route_may_have_several_rows():
    table = Router([("a", "exact", "/", 7), ("b", "prefix", "/", 7)])

    assert table.find("a", "/") == 7
    assert table.find("b", "/x") == 7


@pytest.mark.parametrize("host", ["a.com", "*.a.com", None])
@pytest.mark.parametrize("kind", ["exact", "prefix"])
def test_two_rows_for_the_same_requests_are_refused_naming_both(host, kind):
    with pytest.raises(ValueError, match=r"routes 3 and 9 both take host .* path /a"):
        Router([(host, kind, "/a", 3), ("b", kind, "/a", 4), (host, kind, "/a", 9)])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("A.com", "exact", "/", 0), "host"),
        (("a.com.", "exact", "/", 0), "host"),
        (("*", "exact", "/", 0), "host"),
        (("*.", "exact", "/", 0), "host"),
        (("a.*.com", "exact", "/", 0), "host"),
        (("", "exact", "/", 0), "host"),
        (("\xfcber.com", "exact", "/", 0), "ascii"),
        ((None, "regex", "/", 0), "kind"),
        ((None, "exact", "a", 0), "path"),
        ((None, "exact", "", 0), "path"),
        ((None, "exact", "/", -1), "index"),
        ((None, "exact", "/", 1 << 31), "index"),
        ((None, "exact", "/" + "a" * (1 << 20), 0), "long"),
    ],
)
def test_a_row_in_another_form_is_refused(row, message):
    with pytest.raises(ValueError, match=message):
        Router([row])


def reference(rows, host, path):
    """The precedence as the decision page words it, without any table."""

    def host_rank(pattern):
        if pattern is None:
            return 0
        if not pattern.startswith("*."):
            return 1 << 20 if pattern == host else -1
        return len(pattern) if host.endswith(pattern[1:]) else -1

    def path_rank(kind, pattern):
        if kind == "exact":
            return 1 << 20 if path == pattern else -1
        if pattern.endswith("/"):
            return len(pattern) if path.startswith(pattern) else -1
        segments = pattern.split("/")
        return len(pattern) if path.split("/")[: len(segments)] == segments else -1

    ranked = [(host_rank(h), path_rank(k, p), index) for h, k, p, index in rows]
    fitting = [row for row in ranked if row[0] >= 0 and row[1] >= 0]
    return max(fitting)[2] if fitting else None


LABEL = st.sampled_from(["a", "b", "ab", "aa"])
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PATTERN = st.one_of(st.none(), HOST, HOST.map("*.".__add__))
SEGMENT = st.sampled_from(["a", "b", "ab", "", "a" * 9])
PATH = st.lists(SEGMENT, max_size=4).map(lambda parts: "/" + "/".join(parts))
ROW = st.tuples(PATTERN, st.sampled_from(["exact", "prefix"]), PATH)


@given(
    st.lists(ROW, max_size=30, unique=True),
    st.lists(st.tuples(HOST, PATH), max_size=20),
)
def test_the_table_agrees_with_the_reference(rows, queries):
    indexed = [(*row, index) for index, row in enumerate(rows)]
    table = Router(indexed)

    for host, path in queries:
        assert table.find(host, path) == reference(indexed, host, path)


def test_a_hundred_thousand_hosts_are_all_found_and_no_other():
    hosts = [f"h{i}.example.com" for i in range(100_000)]
    table = Router([(host, "prefix", "/", i) for i, host in enumerate(hosts)])

    assert [table.find(host, "/x") for host in hosts] == list(range(100_000))
    assert all(
        table.find(f"h{i}.example.com", "/x") is None for i in range(100_000, 101_000)
    )
    assert table.find("example.com", "/x") is None
