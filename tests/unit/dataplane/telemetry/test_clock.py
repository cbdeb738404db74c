import pytest
from log_probe import ClockProbe

NOON_S = 1_795_522_979  # 2026-11-24T12:22:59Z


@pytest.mark.parametrize(
    ("zone", "texts"),
    [
        ("UTC0", (b"24/Nov/2026:12:22:59 +0000", b"2026-11-24T12:22:59+00:00")),
        ("IST-5:30", (b"24/Nov/2026:17:52:59 +0530", b"2026-11-24T17:52:59+05:30")),
        ("NST3:30", (b"24/Nov/2026:08:52:59 -0330", b"2026-11-24T08:52:59-03:30")),
    ],
)
def test_it_shows_local_time_and_the_date_header_gmt(monkeypatch, zone, texts):
    monkeypatch.setenv("TZ", zone)
    shown = ClockProbe().tick(NOON_S)
    monkeypatch.undo()
    ClockProbe()  # starting one reads the zone: leave it as it was found

    assert shown == (*texts, b"Tue, 24 Nov 2026 12:22:59 GMT")


def test_it_moves_with_the_second():
    clock = ClockProbe()
    clock.tick(NOON_S)

    assert clock.tick(NOON_S + 1)[2] == b"Tue, 24 Nov 2026 12:23:00 GMT"
    assert clock.tick(0)[2] == b"Thu, 01 Jan 1970 00:00:00 GMT"
