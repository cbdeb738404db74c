import errno
import os
import re

import pytest

from fastgate.control.logs import Drops, ErrorLog, open_access_log, open_log
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

    # The pipe holds 64 KiB and the queue 256: the others have no place.
    assert 600 < log.dropped < 750
    log.close()
    os.close(reader)


def test_a_pipe_without_a_reader_loses_lines():
    reader, writer = os.pipe()
    os.close(reader)
    log = ErrorLog("stderr")
    log.replace(writer)
    log.info("x")

    assert log.wait(5000)
    assert log.dropped == 1
    log.close()


def test_a_log_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(StartError, match=r"cannot open error log .*: no such file"):
        ErrorLog(str(tmp_path / "none" / "log"))
    with pytest.raises(StartError, match=r"cannot open access log .*: is a directory"):
        open_access_log(str(tmp_path))


def test_an_access_log_that_is_off_is_no_descriptor():
    assert open_access_log("off") == -1


def test_a_log_that_takes_lines_again_says_how_many_were_lost():
    reader, writer = os.pipe()
    log = ErrorLog("stderr")
    log.replace(writer)
    for _ in range(1000):
        log.info("x" * 1000)
    lost = log.dropped
    seen = b""
    while not log.wait(0):
        seen += os.read(reader, 65536)
    log.check()
    assert log.wait(5000)
    seen += os.read(reader, 65536)
    log.close()
    os.close(reader)

    lines = seen.decode().splitlines()
    assert len(lines) == 1000 - lost + 1
    expected = f"{lost} lines of this log were lost before this one"
    assert lines[-1] == f"fastgate: warning: {expected}"


def test_a_child_logs_while_its_parent_is_stuck_in_a_write():
    reader, writer = os.pipe()
    log = ErrorLog("stderr")
    log.replace(writer)
    for _ in range(100):
        log.info("x" * 1000)
    assert not log.wait(10)
    pid = os.fork()
    if pid == 0:
        out, own = os.pipe()
        log.after_fork(own, "stderr", "info")
        log.info("of the child")
        log.wait(5000)
        said = os.read(out, 4096)
        os._exit(0 if said == b"fastgate: of the child\n" else 1)
    _, status = os.waitpid(pid, 0)
    os.close(reader)
    log.close()

    assert os.waitstatus_to_exitcode(status) == 0


class Heard(list):
    """Keeps what a log is told."""

    debug = info = warning = alert = list.append


def test_the_error_log_says_when_lines_begin_to_be_lost_and_when_it_ends():
    heard = Heard()
    drops = Drops("access log", heard)
    drops.look(0, 0, True)
    drops.look(5, errno.ENOSPC, True)
    drops.look(9, errno.ENOSPC, True)
    drops.look(9, errno.ENOSPC, True)
    drops.look(9, 0, False)
    drops.look(9, 0, True)
    drops.look(9, 0, True)

    assert heard[0] == "access log: lines are lost, no space left on device"
    assert heard[1].startswith("access log: 9 lines were lost in ")
    assert len(heard) == 2


def test_a_log_that_closes_says_what_it_lost_and_nobody_was_told():
    heard = Heard()
    sound, stuck, late = (Drops(name, heard) for name in ("sound", "stuck", "late"))
    sound.close(0)
    stuck.look(5, 0, False)
    stuck.look(7, 0, False)
    stuck.close(12)
    late.look(3, 0, True)
    late.look(3, 0, True)
    late.close(4)

    assert "stuck: 12 lines were lost until it was closed" in heard
    assert "late: 1 line was lost until it was closed" in heard
    assert not [line for line in heard if line.startswith("sound")]


@pytest.mark.parametrize("open_it", [open_log, open_access_log])
def test_a_fifo_takes_lines_before_its_reader_comes(open_it, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    fd = open_it(str(path))
    os.write(fd, b"early\n")
    with open(path, "rb", buffering=0) as reader:
        assert reader.read(100) == b"early\n"
    # And goes on when the reader is another.
    os.write(fd, b"late\n")
    with open(path, "rb", buffering=0) as reader:
        assert reader.read(100) == b"late\n"
    os.close(fd)
