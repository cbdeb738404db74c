import os
import re

import pytest

from fastgate.control.logs import ErrorLog, open_access_log
from fastgate.errors import StartError


def test_a_line_in_a_file_has_time_level_and_pid(tmp_path):
    path = tmp_path / "error.log"
    log = ErrorLog(str(path))
    log.warning("something")
    log.close()

    line = path.read_text()
    stamp = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"
    expected = rf"{stamp} \[warning\] {os.getpid()}: fastgate: something\n"
    assert re.fullmatch(expected, line)


def test_a_line_on_a_stream_is_plain(capfd):
    log = ErrorLog("stderr")
    log.info("ready")
    log.alert("broken")
    log.close()

    assert capfd.readouterr().err == "fastgate: ready\nfastgate: error: broken\n"


def test_lines_below_the_level_are_not_written(capfd):
    log = ErrorLog("stderr", "warning")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.close()

    assert capfd.readouterr().err == "fastgate: warning: c\n"


def test_no_text_can_make_a_second_line(capfd):
    log = ErrorLog("stdout")
    log.info("a\nb\x1b[2J")
    log.close()

    assert capfd.readouterr().out == "fastgate: a\\nb\\x1b[2J\n"


def test_a_reopened_log_keeps_its_descriptor(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    log = ErrorLog(str(first))
    number = log.fd
    log.info("one")
    log.replace(os.open(second, os.O_WRONLY | os.O_CREAT))
    log.info("two")
    log.close()

    assert log.fd == number
    assert "one" in first.read_text()
    assert "two" in second.read_text()


def test_a_full_pipe_loses_lines_and_counts_them():
    reader, writer = os.pipe()
    log = ErrorLog("stderr")
    log.replace(writer)
    for _ in range(1000):
        log.info("x" * 1000)

    # A pipe holds 64 KiB: it must have been full for most of them.
    assert 900 < log.dropped < 1000
    log.close()
    os.close(reader)


def test_a_pipe_without_a_reader_loses_lines():
    reader, writer = os.pipe()
    os.close(reader)
    log = ErrorLog("stderr")
    log.replace(writer)
    log.info("x")

    assert log.dropped == 1
    log.close()


def test_a_log_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(StartError, match=r"cannot open error log .*: no such file"):
        ErrorLog(str(tmp_path / "none" / "log"))
    with pytest.raises(StartError, match=r"cannot open access log .*: is a directory"):
        open_access_log(str(tmp_path))


def test_an_access_log_that_is_off_is_no_descriptor():
    assert open_access_log("off") == -1
