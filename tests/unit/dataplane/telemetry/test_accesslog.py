"""The access log's bytes, its buffer, and what it does when nobody reads."""

import fcntl
import json
import os
import re
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_probe import LogProbe

NOON_S = 1_795_522_979  # 2026-11-24T12:22:59Z
STAMP = rb"\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
KEYS = [
    "time", "client", "request", "status", "bytes_in", "bytes_out", "duration_ms",
    "upstream_ms", "host", "route", "upstream", "endpoint", "request_id", "referer",
    "user_agent", "reason", "retries",
]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "access.log"


def opened(path, form="combined", size=16384):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log = LogProbe(os.open(path, flags, 0o600), form, size)
    log.tick(NOON_S)
    return log


def written(path, form="combined", **values):
    """The bytes of one line."""
    path.write_bytes(b"")
    log = opened(path, form)
    log.line(**values)
    log.close()
    return path.read_bytes()


# --- combined -----------------------------------------------------------------

# What nginx 1.22.1 wrote to its `combined` log for these, its clock cut out.
GOLDEN = [
    (
        {
            "request_line": b"GET / HTTP/1.1",
            "user_agent": b"curl",
            "bytes_out": 3,
        },
        b'127.0.0.1 - - [] "GET / HTTP/1.1" 200 3 "-" "curl"',
    ),
    (
        {"request_line": b"GET / HTTP/1.1", "referer": b"", "user_agent": b""},
        b'127.0.0.1 - - [] "GET / HTTP/1.1" 200 0 "" ""',
    ),
    (
        {
            "request_line": b'GET /a"b\\c HTTP/1.1',
            "referer": b"http://x/\"'<>",
            "user_agent": b"\\ \xff\xc3\xa9\x7f\t \x1b[2J",
        },
        rb"""127.0.0.1 - - [] "GET /a\x22b\x5Cc HTTP/1.1" 200 0 "http://x/\x22'<>" """
        rb'"\x5C \xFF\xC3\xA9\x7F\x09 \x1B[2J"',
    ),
    (
        {"request_line": b"GET / HTTP/1.1", "remote_user": b'al"ic\\e\x01\xe9'},
        rb'127.0.0.1 - al\x22ic\x5Ce\x01\xE9 [] "GET / HTTP/1.1" 200 0 "-" "-"',
    ),
    (
        {"request_line": b"GET / HTTP/1.1", "remote_user": b""},
        b'127.0.0.1 - - [] "GET / HTTP/1.1" 200 0 "-" "-"',
    ),
    (
        {"request_line": b'\x16\x03\x01\x00\xa5garb"age', "status": 400},
        rb'127.0.0.1 - - [] "\x16\x03\x01\x00\xA5garb\x22age" 400 0 "-" "-"',
    ),
    (
        {"remote_addr": b"unix:", "request_line": b"GET / HTTP/1.1"},
        b'unix: - - [] "GET / HTTP/1.1" 200 0 "-" "-"',
    ),
]


@pytest.mark.parametrize(("values", "line"), GOLDEN)
def test_combined_is_what_nginx_writes(path, values, line):
    ours = written(path, **{"remote_addr": b"127.0.0.1", **values})

    assert re.sub(STAMP, b"[]", ours) == line + b"\n"


def test_combined_of_nothing_is_dashes(path):
    ours = written(path, status=0)

    assert re.sub(STAMP, b"[]", ours) == b'- - - [] "-" 000 0 "-" "-"\n'


@pytest.mark.parametrize("at", range(9))
def test_every_byte_is_escaped_as_nginx_does_at_every_place(path, at):
    # Taken from the same run: nginx escapes these and no others.
    for byte in range(256):
        value = b"a" * at + bytes([byte]) + b"b" * (8 - at)
        escaped = byte < 0x20 or byte >= 0x7F or byte in b'"\\'
        shown = b"\\x%02X" % byte if escaped else bytes([byte])

        assert value.replace(bytes([byte]), shown) in written(path, user_agent=value)


# --- JSON ---------------------------------------------------------------------


def parsed(path, **values):
    line = written(path, "json", **values)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    return json.loads(line.decode("utf-8", "strict"))


def test_json_has_every_key_in_order_and_its_value(path):
    record = parsed(
        path,
        remote_addr=b"192.0.2.1",
        request_line=b"GET /a HTTP/1.1",
        status=502,
        bytes_in=5,
        bytes_out=2**40,
        total_us=1_234_567,
        upstream_us=1_005,
        host=b"example.com",
        route=b"users",
        upstream=b"pool",
        endpoint=b"10.0.0.1:9000",
        request_id=b"ff",
        referer=b"",
        user_agent=b"curl",
        reason=b"upstream-reset",
        retries=2,
    )

    assert list(record) == KEYS
    assert list(record.values())[1:] == [
        "192.0.2.1", "GET /a HTTP/1.1", 502, 5, 2**40, 1234.567, 1.005, "example.com",
        "users", "pool", "10.0.0.1:9000", "ff", "", "curl", "upstream-reset", 2,
    ]  # fmt: skip


def test_json_has_the_time_in_milliseconds(path):
    shown = parsed(path, time_ms=7)["time"]

    assert re.fullmatch(r"2026-11-24T\d\d:\d\d:59\.007[+-]\d\d:\d\d", shown)


def test_combined_plus_is_combined_and_why_how_long_where_and_which(path):
    values = {
        "remote_addr": b"192.0.2.1",
        "request_line": b"GET / HTTP/1.1",
        "user_agent": b"curl",
    }
    combined = written(path, **values)
    plus = written(
        path,
        "combined-plus",
        **values,
        reason=b"upstream-reset",
        total_us=12_034,
        endpoint=b"10.0.0.1:9000",
        request_id=b"ff",
    )
    bare = written(path, "combined-plus", **values, reason=b"-", total_us=5)

    assert plus == combined[:-1] + b' upstream-reset 12.034 "10.0.0.1:9000" "ff"\n'
    assert bare == combined[:-1] + b' - 0.005 "-" "-"\n'


def test_json_says_null_for_what_was_not_there(path):
    record = parsed(path, status=0, reason=b"-", route=b"")

    assert list(record) == KEYS
    assert {key for key in KEYS if record[key] is None} == {
        "client", "request", "upstream_ms", "host", "route", "upstream", "endpoint",
        "request_id", "referer", "user_agent", "reason",
    }  # fmt: skip
    assert record["duration_ms"] == 0


@pytest.mark.parametrize(
    "text",
    ["plain", 'q"b\\s', "tab\tline\nret\r\0", "\xfcber", "\u20ac", "\U0001f600", "\x7f",
     "\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff", "a" * 7 + "\xa0" + "b" * 9],
)  # fmt: skip
def test_json_gives_back_the_text_that_was_sent(path, text):
    assert parsed(path, user_agent=text.encode())["user_agent"] == text


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff", b"\x80", b"\xc3", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf",
        b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
        b"\xc3(", b"\xe2\x82", b"\xc2\x9b31m",
    ],
)  # fmt: skip
def test_json_writes_each_malformed_byte_as_its_number(path, raw):
    assert parsed(path, user_agent=raw)["user_agent"] == raw.decode("latin-1")


@given(raw=st.binary(max_size=40), form=st.sampled_from(["json", "combined"]))
def test_any_bytes_make_one_line_of_visible_characters(raw, form, tmp_path_factory):
    line = written(tmp_path_factory.getbasetemp() / "any.log", form,
                   user_agent=raw, request_line=raw, referer=raw)  # fmt: skip

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert not re.search(rb"[\x00-\x1f\x7f]", line[:-1])
    if form == "json":
        json.loads(line.decode("utf-8", "strict"))


WORDS = [
    "remote_addr", "remote_user", "request_line", "referer", "user_agent", "host",
    "request_id", "route", "upstream", "endpoint", "reason",
]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "combined"])
@pytest.mark.parametrize("unit", [b"a", b"\xff", b'"', "\U0001f600".encode(), b"a\xff"])
def test_a_line_is_at_most_8_kib_however_long_its_values(path, form, unit):
    huge = dict.fromkeys(WORDS, unit * 100_000)
    counts = ["bytes_out", "bytes_in", "total_us", "upstream_us"]
    huge |= dict.fromkeys(counts, 2**63 - 1)
    line = written(path, form, status=999, retries=2**31 - 1, **huge)

    assert 2000 < len(line) <= 8192
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    if form == "json":
        assert list(json.loads(line.decode("utf-8", "strict"))) == KEYS


# --- the buffer and its file --------------------------------------------------


def test_nothing_is_written_before_the_buffer_is_full_or_flushed(path):
    log = opened(path)
    log.line(user_agent=b"a")

    assert path.read_bytes() == b""
    log.flush()
    assert path.read_bytes().count(b"\n") == 1
    assert log.used == 0


def test_a_full_buffer_is_written_out_in_whole_lines_and_none_is_lost(path):
    log = opened(path)
    for i in range(1000):
        log.line(user_agent=b"number-%d" % i)
        log.wait()
        assert path.read_bytes()[-1:] in (b"", b"\n")
    log.close()

    seen = re.findall(rb'"number-(\d+)"\n', path.read_bytes())
    assert seen == [b"%d" % i for i in range(1000)]
    assert log.dropped == 0


def test_a_log_that_is_off_writes_nothing(path):
    log = opened(path, "off", 0)
    log.line(user_agent=b"a")
    log.close()

    assert path.read_bytes() == b""
    assert log.dropped == 0


def test_a_buffer_too_small_for_two_lines_is_refused(path):
    with pytest.raises(ValueError, match="16384"):
        opened(path, "json", 16383)


def test_reopening_finishes_the_old_file_first(path, tmp_path):
    log = opened(path)
    log.line(user_agent=b"old")
    log.reopen(os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    log.line(user_agent=b"new")
    log.close()

    assert b'"old"\n' in path.read_bytes()
    assert b'"new"\n' in (tmp_path / "new").read_bytes()


def test_closing_closes_the_descriptor(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = LogProbe(fd)
    log.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_log_that_cannot_be_written_counts_what_it_loses(path):
    log = opened(path)
    log.reopen(os.open(path, os.O_RDONLY))
    for _ in range(500):
        log.line(user_agent=b"a" * 100)
    log.flush()

    assert log.dropped == 500


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_loses_whole_lines_and_never_blocks(blocking):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
    os.set_blocking(writer, blocking)
    log = LogProbe(writer, "json")
    log.tick(NOON_S)
    for i in range(1000):
        log.line(user_agent=b"number-%d" % i, request_line=b"x" * (i % 700))
    log.close()
    with os.fdopen(reader, "rb") as pipe:
        lines = pipe.read().splitlines()

    # What was in a write when the log was closed is counted, and may yet arrive.
    assert 1000 <= len(lines) + log.dropped <= 1000 + 20
    assert 10 < len(lines) < 100
    for line in lines:
        assert list(json.loads(line)) == KEYS


def test_a_pipe_that_is_read_again_gets_whole_lines_again():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    log = LogProbe(writer, "json")
    log.tick(NOON_S)
    read = b""
    for i in range(60):
        log.line(user_agent=b"n-%d" % i, request_line=b"x" * 3000)
        log.flush()
        if i % 3 == 0:
            read += os.read(reader, 65536)
    log.close()
    read += os.read(reader, 65536)
    os.close(reader)

    lines = read.splitlines()
    assert len(lines) + log.dropped == 60
    assert len(lines) >= 20
    for line in lines:
        json.loads(line)


def test_a_line_that_no_pipe_takes_at_once_is_finished_when_there_is_room():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    log = LogProbe(writer, "json")
    log.line(request_line=b"x" * 3000, referer=b"y" * 1500)
    log.flush()
    first = os.read(reader, 65536)
    log.line(request_line=b"next")
    log.flush()
    second = os.read(reader, 65536)
    log.close()
    os.close(reader)

    assert len(first) == 4096
    one, two = map(json.loads, (first + second).splitlines())
    assert (one["referer"], two["request"]) == ("y" * 1500, "next")
    assert log.dropped == 0


def test_a_socket_that_nobody_reads_loses_lines_and_never_blocks():
    ours, theirs = socket.socketpair()
    with theirs:
        log = LogProbe(ours.detach(), "combined")
        for _ in range(20_000):
            log.line(user_agent=b"a" * 200)
        log.close()

        assert log.dropped > 0


def test_a_reader_that_went_away_costs_only_the_lines():
    reader, writer = os.pipe()
    os.close(reader)
    log = LogProbe(writer)
    log.line(user_agent=b"a")
    log.flush()

    assert log.dropped == 1


FULL_DISK = """
import os, resource, signal, sys
sys.path[:0] = {paths!r}
from log_probe import LogProbe
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
log = LogProbe(fd, "json")
for limit in {limits!r}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for _ in range(100):
        log.line(user_agent=b"a" * 100)
    log.flush()
print(log.dropped, log.used)
"""


def test_a_full_disk_tears_no_line_that_is_not_finished_later(path):
    """A file size limit cuts a write short as a full disk does."""
    script = FULL_DISK.format(
        paths=sys.path, path=str(path), limits=[10_007, 10_007, 20_011, 1 << 30]
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    dropped, used = map(int, done.stdout.split())
    lines = path.read_bytes().splitlines()

    assert used == 0
    assert len(lines) + dropped == 400
    assert dropped > 100
    for line in lines:
        assert list(json.loads(line)) == KEYS
