"""The thread that writes a log: whoever puts lines never waits for it."""

import contextlib
import errno
import fcntl
import os
import signal

from fastgate._core import LineWriter

LINE = b"%06d " + b"x" * 90 + b"\n"


def stalled(queue_bytes=65536):
    """A reader that does not read, and a writer before a pipe of one page."""
    reader, end = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    return reader, LineWriter(end, queue_bytes)


def read_out(reader, writer):
    """All that comes until the writer has nothing left."""
    seen = b""
    os.set_blocking(reader, False)
    while True:
        is_settled = writer.wait(1)
        try:
            seen += os.read(reader, 65536)
        except BlockingIOError:
            if is_settled:
                return seen


def test_lines_arrive_in_order_however_the_queue_wraps():
    reader, writer = stalled(10_000)
    seen = b""
    os.set_blocking(reader, False)
    for number in range(2000):
        while not writer.put(LINE % number):
            with contextlib.suppress(BlockingIOError):
                seen += os.read(reader, 4096)
    seen += read_out(reader, writer)
    writer.close(1000)

    assert seen.splitlines(True) == [LINE % number for number in range(2000)]


def test_a_write_that_blocks_holds_up_nobody():
    reader, writer = stalled()
    taken = [writer.put(LINE % number) for number in range(1000)]
    kept = sum(taken)

    assert taken == [True] * kept + [False] * (1000 - kept)
    assert 600 < kept < 750
    assert not writer.wait(0)
    assert read_out(reader, writer).splitlines(True) == [LINE % n for n in range(kept)]
    assert writer.state() == (1000 - kept, 0, True)
    writer.close(1000)


def test_closing_waits_a_bounded_time_and_counts_what_is_left():
    reader, writer = stalled()
    for number in range(200):
        writer.put(LINE % number)
    writer.close(50)

    assert 100 < writer.state()[0] <= 200
    os.close(reader)


def test_a_stuck_file_is_finished_before_the_next_one_begins(tmp_path):
    reader, writer = stalled()
    for number in range(100):
        writer.put(LINE % number)
    for name in ("skipped", "next"):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        writer.reopen(os.open(tmp_path / name, flags))
    writer.put(LINE % 100)
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as pipe:
        before = pipe.read().splitlines(True)
    writer.close(5000)

    assert before == [LINE % number for number in range(100)]
    assert (tmp_path / "next").read_bytes() == LINE % 100
    assert (tmp_path / "skipped").read_bytes() == b""


def test_a_full_disk_drops_lines_and_says_why():
    writer = LineWriter(os.open("/dev/full", os.O_WRONLY), 65536)
    for number in range(10):
        writer.put(LINE % number)

    assert writer.wait(5000)
    assert writer.state() == (10, errno.ENOSPC, True)
    writer.close(1000)


def test_signals_are_not_taken_by_the_thread():
    reader, writer = stalled()
    before = set(os.listdir("/proc/self/task"))
    writer.put(LINE % 1)
    (thread,) = set(os.listdir("/proc/self/task")) - before
    with open(f"/proc/self/task/{thread}/status") as status:
        (line,) = (line for line in status if line.startswith("SigBlk:"))
    blocked = int(line.split()[1], 16)
    writer.close(1000)
    os.close(reader)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
        assert blocked >> (number - 1) & 1


def test_forks_beside_the_thread_do_no_harm():
    reader, writer = stalled()
    for number in range(50):
        writer.put(LINE % number)
        pid = os.fork()
        if pid == 0:
            # The parent's queue is not its own: nothing is put, nothing locked.
            os._exit(1 if writer.put(b"x\n") else 0)
        assert os.waitpid(pid, 0)[1] == 0
    seen = read_out(reader, writer)
    writer.close(1000)

    assert seen.count(b"\n") == 50
