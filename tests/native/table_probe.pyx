"""The table of a plan, opened to pytest. Runs in: tests only."""

from libc.string cimport memset

from fastgate.dataplane.plan.table cimport Row, fill, row

cdef Sample at

cdef list TABLE = [
    row("switch", &at, &at.switch),
    row("port", &at, &at.port),
    row("room", &at, &at.room_bytes),
    row("count", &at, &at.count),
    row("wait", &at, &at.wait_ms),
    row("buffer", &at, &at.buffer_bytes),
    row("percent", &at, &at.count).within(1, 100),
    row("colour", &at, &at.colour).one_of({"red": 1, "green": 255}),
]


def filled(dict values):
    """The fields of a struct that was all 0xA5 bytes, by name."""
    cdef Sample sample
    rows = [one for one in TABLE if (<Row>one).key in values]
    memset(&sample, 0xA5, sizeof(sample))
    fill(&sample, values, rows)
    if sample.edge != 0xA5:
        raise AssertionError("wrote past its field")
    return sample


def filled_whole(dict values):
    """Every row at once: a setting may be missing."""
    cdef Sample sample
    memset(&sample, 0, sizeof(sample))
    fill(&sample, values, TABLE)
    return sample


def bounded(low, high):
    """A row of 16 bits with bounds."""
    row("port", &at, &at.port).within(low, high)


def worded(dict words):
    """A row of 8 bits with words."""
    row("colour", &at, &at.colour).one_of(words)
