import re

from fastgate.control.events import MOST_EVENTS, Events, timestamp


class Lines:
    def __init__(self):
        self.lines = []

    def warning(self, line):
        self.lines.append(line)


def test_a_change_is_a_line_and_an_event():
    log = Lines()
    events = Events(log)
    events.add("users", "10.0.0.1:9000", "down", "health check: no", "; 1 of 2")

    assert log.lines == [
        "endpoint 10.0.0.1:9000 (upstream users) is down: health check: no; 1 of 2"
    ]
    (event,) = events.listed()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("at"))
    assert event == {
        "upstream": "users",
        "endpoint": "10.0.0.1:9000",
        "what": "down",
        "cause": "health check: no",
    }


def test_only_the_newest_events_are_kept():
    events = Events(Lines())
    for number in range(MOST_EVENTS + 3):
        events.add("users", "a:1", "up", str(number))

    causes = [event["cause"] for event in events.listed()]
    assert causes == [str(number) for number in range(3, MOST_EVENTS + 3)]


def test_a_timestamp_is_utc_to_the_millisecond():
    assert timestamp(1_700_000_000.0625) == "2023-11-14T22:13:20.062Z"
