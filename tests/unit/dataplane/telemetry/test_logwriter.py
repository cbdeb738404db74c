"""The thread that writes a log: whoever puts lines never waits for it."""

import array
import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import termios
import time

from support.waiting import eventually

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
    # Not the first ones alone: the thread may have begun to write when it was full.
    kept = [LINE % number for number in range(1000) if taken[number]]

    assert 600 < len(kept) < 750
    assert not writer.wait(0)
    assert read_out(reader, writer).splitlines(True) == kept
    assert writer.state() == (1000 - len(kept), 0, True)
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


def test_a_line_longer_than_a_page_goes_out_in_one_write():
    # Of a packet socket each read gives what one write brought. In pieces, lines of
    # workers that share a pipe would stand in each other.
    reader, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    writer = LineWriter(end.detach(), 65536)
    line = b"x" * 6000 + b"\n"
    writer.put(line)
    with reader:
        reader.settimeout(5)
        assert reader.recv(65536) == line
    writer.close(1000)


@contextlib.contextmanager
def files_of_at_most(size):
    """What a full disk does: a write that is cut short, and none after it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_behind_a_torn_one_go_to_the_next_file(tmp_path):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    writer = LineWriter(os.open(tmp_path / "full", flags), 400)
    with files_of_at_most(50):
        # The rest of the torn line moves to the end of the queue, whose beginning
        # then takes a line that waits.
        for number in range(5):
            writer.put(LINE % number)
            assert writer.wait(5000)
        assert writer.state() == (3, errno.EFBIG, True)
    writer.reopen(os.open(tmp_path / "next", flags))
    assert writer.wait(5000)
    lost = writer.state()[0]
    writer.close(1000)

    assert (tmp_path / "full").read_bytes() == (LINE % 0)[:50]
    assert (tmp_path / "next").read_bytes() == LINE % 4
    assert lost == 4


def is_asleep(thread):
    with open(f"/proc/self/task/{thread}/stat") as stat:
        return stat.read().rpartition(") ")[2].startswith("S")


def test_a_line_put_during_a_write_that_fails_is_tried_too():
    reader, writer = stalled()
    before = set(os.listdir("/proc/self/task"))
    waits = array.array("i", [0])

    def is_stuck_in_the_line():
        fcntl.ioctl(reader, termios.FIONREAD, waits)
        return waits[0] == 4096 and is_asleep(thread)

    writer.put(b"x" * 6000 + b"\n")
    (thread,) = set(os.listdir("/proc/self/task")) - before
    eventually(is_stuck_in_the_line, within_s=5)
    writer.put(LINE % 1)
    os.close(reader)

    assert writer.wait(5000)
    # The torn line is kept: its beginning is out.
    assert writer.state() == (1, errno.EPIPE, True)
    writer.close(1000)


def slow_to_close():
    """A descriptor whose close waits for a peer that does not read."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    listener.close()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 65536)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
    return theirs, ours.detach()


def test_a_file_that_takes_long_to_close_holds_up_nobody(tmp_path):
    peer, fd = slow_to_close()
    writer = LineWriter(fd, 65536)
    begin = time.monotonic()
    writer.reopen(os.open(tmp_path / "next", os.O_WRONLY | os.O_CREAT))
    writer.put(LINE % 1)
    took_s = time.monotonic() - begin
    peer.close()
    writer.close(5000)

    assert took_s < 1
    assert (tmp_path / "next").read_bytes() == LINE % 1


def test_a_child_keeps_no_file_of_its_parents_writer(tmp_path):
    reader, writer = stalled()
    for number in range(100):
        writer.put(LINE % number)
    writer.reopen(os.open(tmp_path / "next", os.O_WRONLY | os.O_CREAT))
    pid = os.fork()
    if pid == 0:
        before = len(os.listdir("/proc/self/fd"))
        del writer
        os._exit(before - len(os.listdir("/proc/self/fd")))
    _, status = os.waitpid(pid, 0)
    os.close(reader)
    writer.close(5000)

    assert os.waitstatus_to_exitcode(status) == 2
