"""One reader for both sides: pieces of messages, however their bytes were cut."""

import pytest
from reader_probe import Side

COUNTED = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
CHUNKED = (
    b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n"
)
PLAIN = b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
UNTIL_THE_END = b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts"


def pieces(side, *reads):
    """Everything that these reads hold, with the body's pieces of a message joined."""
    told = []
    for data in reads:
        side.read(data)
        while (piece := side.next()) not in ("nothing", "partial"):
            if piece[0] == "body" and told and told[-1][0] == "body":
                before = told.pop()
                assert not before[2], "a piece behind the end of a body"
                piece = ("body", before[1] + piece[1], piece[2])
            told.append(piece)
            if piece[0] == "fault":
                return told
    return told


def lines(told):
    return [piece[1].split()[1] for piece in told if piece[0] == "head"]


REQUESTS = [
    ("head", b"POST /a HTTP/1.1"),
    ("body", b"0123456789", True),
    ("head", b"POST /b HTTP/1.1"),
    ("body", b"abcdefg", True),
    ("head", b"GET /c HTTP/1.1"),
]


def test_messages_in_one_read_come_one_after_the_other():
    assert pieces(Side(), COUNTED + CHUNKED + PLAIN) == REQUESTS


@pytest.mark.parametrize("at", range(1, len(COUNTED + CHUNKED + PLAIN)))
def test_a_cut_anywhere_changes_nothing(at):
    stream = COUNTED + CHUNKED + PLAIN
    assert pieces(Side(), stream[:at], stream[at:]) == REQUESTS


def test_bytes_that_come_one_at_a_time_change_nothing():
    stream = COUNTED + CHUNKED + PLAIN
    side = Side()
    assert pieces(side, *(stream[i : i + 1] for i in range(len(stream)))) == REQUESTS
    assert side.kept == b""


def test_of_a_partial_head_all_is_kept_and_once():
    side = Side()
    for n in range(1, len(PLAIN)):
        side.read(PLAIN[n - 1 : n])
        assert side.next() == "partial"
        assert side.kept == PLAIN[:n]
    side.read(PLAIN[-1:])
    assert side.next() == ("head", b"GET /c HTTP/1.1")
    assert side.kept == b""


def test_what_nobody_takes_waits_for_a_later_turn():
    side = Side()
    side.read(PLAIN + COUNTED)
    assert side.next() == ("head", b"GET /c HTTP/1.1")
    side.keep()
    assert side.kept == COUNTED
    assert side.next() == "nothing"
    assert pieces(side, b"") == REQUESTS[:2]
    assert side.kept == b""


@pytest.mark.parametrize("at", range(1, len(PLAIN)))
def test_a_turn_may_end_behind_the_second_part_of_a_head(at):
    side = Side()
    side.read(PLAIN[:at])
    assert side.next() == "partial"
    side.read(PLAIN[at:] + COUNTED)
    side.keep()
    assert side.kept == PLAIN + COUNTED
    assert pieces(side, b"") == [("head", b"GET /c HTTP/1.1"), *REQUESTS[:2]]
    assert side.kept == b""


def test_and_go_on_being_partial():
    side = Side()
    for n in (5, 10, 15):
        side.read(PLAIN[n - 5 : n])
        side.keep()
        assert side.kept == PLAIN[:n]
        side.read(b"")
        assert side.next() == "partial"
        assert side.kept == PLAIN[:n]
    assert pieces(side, PLAIN[15:]) == [("head", b"GET /c HTTP/1.1")]


def test_half_a_body_may_wait_as_well():
    side = Side()
    side.read(COUNTED[:-4])
    side.next()
    side.keep()
    assert side.kept == b"012345"
    assert pieces(side, b"6789") == [("body", b"0123456789", True)]
    assert not side.awaits_body


def test_an_empty_body_ends_without_a_byte():
    side = Side(response=True)
    side.read(EMPTY)
    assert side.next() == ("head", b"HTTP/1.1 200 OK")
    assert side.next() == ("body", b"", True)
    assert side.next() == "nothing"


def test_an_interim_head_is_followed_by_a_head():
    told = pieces(Side(response=True), INTERIM + INTERIM + ANSWER)
    assert lines(told) == [b"103", b"103", b"200"]
    assert told[-1] == ("body", b"body", True)


def test_bytes_behind_an_answer_are_no_part_of_it():
    side = Side(response=True)
    side.read(ANSWER + b"more")
    side.next()
    assert side.next() == ("body", b"body", True)
    side.keep()
    assert side.kept == b"more"


def test_a_body_without_an_announced_end_never_ends_here():
    side = Side(response=True)
    told = pieces(side, UNTIL_THE_END, b", and longer")
    assert told[-1] == ("body", b"as long as it lasts, and longer", False)
    assert side.awaits_body


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 40000, "header-too-large"),
    ],
)
def test_a_fault_of_a_head_is_the_last_piece(stream, reason):
    side = Side()
    assert pieces(side, stream) == [("fault", reason)]
    assert side.kept == b""


def test_a_fault_of_a_chunk_comes_behind_the_pieces_before_it():
    bad = CHUNKED.replace(b"4;ext=1", b"x")
    told = pieces(Side(), bad[:-30], bad[-30:])
    assert told[-1] == ("fault", "bad-chunk")


def test_what_is_dropped_is_forgotten():
    side = Side()
    side.read(COUNTED[:-4] + b"")
    side.next()
    side.keep()
    side.drop()
    assert side.kept == b""
    assert not side.awaits_body
    assert pieces(side, PLAIN) == [("head", b"GET /c HTTP/1.1")]
