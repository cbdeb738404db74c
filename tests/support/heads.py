"""Heads as the gateway writes them, taken apart. Runs in: tests only."""

from write_probe import RequestProbe, ResponseProbe


def head_of(written):
    """(start line, [(name, value)]) of a written head, or fail."""
    assert isinstance(written, bytes), written
    head, end, _ = written.partition(b"\r\n\r\n")
    assert end, written
    start, *lines = head.split(b"\r\n")
    return start, [tuple(line.split(b": ", 1)) for line in lines]


def request(*fields, **how):
    how.setdefault("authority", b"example.com")
    return RequestProbe(fields, **how).write()


def fields_of(*fields, **how):
    """The fields of a written request, its Host apart."""
    _, written = head_of(request(*fields, **how))
    assert written[0][0] == b"Host"
    return written[1:]


def response(*fields, **how):
    return ResponseProbe(fields, **how).write()
