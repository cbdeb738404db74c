"""What becomes of an endpoint by its checks, in the words of the table of health.py."""

import pytest

from fastgate.config.model import Health
from fastgate.control.health import Record, first_health, offset_s, taken_over

RULES = Health(path="/", interval="2s", rise=2, fall=3)


def told(record, *ends):
    """Take how checks ended; what each one changed."""
    changes = [record.take(why) for why in ends]
    return [change and change.health for change in changes]


def test_three_failures_in_a_row_take_an_endpoint_out():
    record = Record(RULES, "up")

    assert told(record, "no", "no", "no") == [None, None, "down"]
    assert record.health == "down"


def test_a_pass_forgets_the_failures_before_it():
    record = Record(RULES, "up")

    assert told(record, "no", "no", "", "no", "no", "") == [None] * 6
    assert record.health == "up"


def test_two_passes_in_a_row_bring_it_back():
    record = Record(RULES, "down")

    assert told(record, "", "no", "", "") == [None, None, None, "up"]


@pytest.mark.parametrize("before", ["unchecked", "waiting"])
@pytest.mark.parametrize(("end", "after"), [("", "up"), ("no", "down")])
def test_the_first_check_decides_by_itself(before, end, after):
    assert told(Record(RULES, before), end) == [after]


def test_that_an_unchecked_endpoint_is_up_is_no_news():
    assert not Record(RULES, "unchecked").take("").is_told
    assert Record(RULES, "waiting").take("").is_told
    assert Record(RULES, "unchecked").take("no").is_told


def test_a_change_says_why():
    record = Record(RULES, "up")
    record.take("status 500")
    record.take("status 500")
    down = record.take("connection refused")
    record.take("")
    up = record.take("")

    assert down.why == "connection refused, 3 in a row"
    assert up.why == "2 checks passed"
    assert Record(RULES, "unchecked").take("no").why == "no, at its first check"
    assert Record(Health(path="/", fall=1), "up").take("no").why == "no"
    assert Record(Health(path="/", rise=1), "down").take("").why == "1 check passed"


def test_checks_and_failures_are_counted():
    record = Record(RULES, "up")
    told(record, "", "no", "")

    assert (record.checks, record.failed, record.last) == (3, 1, "")


def test_the_interval_is_fast_while_the_next_check_may_change_something():
    up, doubtful, down = (Record(RULES, "up") for _ in range(3))
    doubtful.take("no")
    told(down, "no", "no", "no")
    news = Record(RULES, "unchecked")

    waits = [record.wait_s(0.5) for record in (up, doubtful, down, news)]
    assert waits == [2, 1, 1, 1]


def test_the_jitter_shortens_and_lengthens_by_its_share():
    record = Record(Health(path="/", interval="10s", jitter="20%"), "up")

    assert [record.wait_s(chance) for chance in (0, 0.5, 1)] == [8, 10, 12]


@pytest.mark.parametrize(
    ("rules", "has_place", "health"),
    [
        (None, True, "unchecked"),
        (None, False, "down"),
        (RULES, True, "unchecked"),
        (RULES, False, "down"),
        (Health(path="/", initial="down"), True, "waiting"),
        (Health(path="/", initial="down"), False, "down"),
    ],
)
def test_what_an_endpoint_begins_with(rules, has_place, health):
    assert first_health(rules, has_place=has_place) == health


@pytest.mark.parametrize("health", ["unchecked", "waiting", "up", "down"])
def test_a_new_steward_goes_on_from_what_it_finds(health):
    assert taken_over(RULES, health, has_place=True) == health


@pytest.mark.parametrize("found", ["up", "down", "waiting", "invalid"])
def test_what_checks_said_counts_no_more_where_there_are_none(found):
    assert taken_over(None, found, has_place=True) == "unchecked"
    assert taken_over(None, found, has_place=False) == "down"


def test_an_unknown_word_in_a_slot_is_no_reason_to_trust():
    assert taken_over(RULES, "invalid", has_place=True) == "down"


@pytest.mark.parametrize("endpoints", [2, 10, 1000])
def test_first_checks_are_spread_over_the_interval(endpoints):
    offsets = sorted(offset_s(RULES, number) for number in range(endpoints))
    ends = [*offsets[1:], offsets[0] + 2]
    gaps = [after - before for before, after in zip(offsets, ends, strict=True)]

    assert offsets[0] == 0
    assert offsets[-1] < 2
    assert max(gaps) < 3 * 2 / endpoints
