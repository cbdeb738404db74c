"""Incidents of traffic: what is noted at once, held back, and lost."""

from incidents_probe import BURST, KINDS, LINE_BYTES, METERS, RATE_MS, RING, Ring

from fastgate.control import incidents

NOW_MS = 1_000_000


def test_the_first_few_are_noted_at_once_and_the_rest_held_back():
    ring = Ring()
    for number in range(10):
        ring.note(NOW_MS, line=b"GET /%d" % number)

    expected = [(0, 1, b"GET /%d" % number, 0) for number in range(BURST)]
    assert ring.take(NOW_MS) == expected
    assert ring.take(NOW_MS + RATE_MS - 1) == []


def test_the_newest_of_those_held_back_goes_out_with_their_number():
    ring = Ring()
    for number in range(10):
        ring.note(NOW_MS, line=b"GET /%d" % number)
    ring.take(NOW_MS)

    # Seven were held back: one is shown, and speaks for the six others.
    assert ring.take(NOW_MS + RATE_MS) == [(0, 1, b"GET /9", 6)]
    assert ring.take(NOW_MS + 9 * RATE_MS) == []


def test_one_that_comes_when_its_time_has_come_speaks_for_those_before_it():
    ring = Ring()
    for _ in range(BURST + 2):
        ring.note(NOW_MS)
    ring.take(NOW_MS)
    ring.note(NOW_MS + RATE_MS, line=b"last")

    assert ring.take(NOW_MS + RATE_MS) == [(0, 1, b"last", 2)]


def test_who_leaves_is_told_of_all_that_was_held_back():
    ring = Ring()
    for endpoint in range(RING + 3):
        for number in range(10):
            ring.note(NOW_MS, endpoint=endpoint, line=b"GET /%d" % number)
    found = ring.take(NOW_MS, leaving=True)
    told = sum(1 + held for *_, held in found)

    assert told == 10 * (RING + 3)
    assert ring.take(NOW_MS + 9 * RATE_MS) == []


def test_each_endpoint_route_and_fault_has_its_own_rate():
    ring = Ring()
    for _ in range(50):
        ring.note(NOW_MS, endpoint=0, fault=1)
    ring.note(NOW_MS, endpoint=1, fault=1)
    ring.note(NOW_MS, endpoint=0, fault=2)
    ring.note(NOW_MS, endpoint=0, fault=1, route=3)

    found = ring.take(NOW_MS)
    assert [one[:2] for one in found] == [(0, 1)] * BURST + [(1, 1), (0, 2), (0, 1)]


def test_a_burst_is_whole_again_after_a_quiet_time():
    ring = Ring()
    for _ in range(BURST):
        ring.note(NOW_MS)
    ring.take(NOW_MS)
    later_ms = NOW_MS + BURST * RATE_MS
    for _ in range(BURST):
        ring.note(later_ms)

    assert len(ring.take(later_ms)) == BURST


def test_a_full_ring_holds_back_and_gives_it_out_when_it_has_room():
    ring = Ring()
    for endpoint in range(RING + 3):
        ring.note(NOW_MS, endpoint=endpoint)

    assert [one[0] for one in ring.take(NOW_MS)] == list(range(RING))
    assert sorted(one[0] for one in ring.take(NOW_MS)) == [RING, RING + 1, RING + 2]


def test_more_at_a_time_than_there_are_meters_is_counted_as_lost():
    ring = Ring()
    for endpoint in range(4 * METERS):
        ring.note(NOW_MS, endpoint=endpoint)
    shown = 0
    while found := ring.take(NOW_MS):
        shown += len(found)

    assert shown + ring.lost == 4 * METERS
    assert METERS // 2 < shown <= METERS


def test_a_request_line_is_cut():
    ring = Ring()
    ring.note(NOW_MS, line=b"x" * 1000)

    assert ring.take(NOW_MS) == [(0, 1, b"x" * LINE_BYTES, 0)]


def test_python_counts_as_many_kinds_as_the_ring():
    assert incidents.METHOD_REFUSED + 1 == KINDS
