"""Logs that take nothing: a stalled disk, a full one, a reader that stops."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import tty
from collections.abc import Iterator

from support.gateway import Gateway
from support.rig import Rig
from support.waiting import eventually

# A long line, so that few requests fill what is between us and the reader.
LONG = {"User-Agent": "u" * 1000, "Referer": "r" * 1500}


@contextlib.contextmanager
def unread_terminal() -> Iterator[tuple[int, str]]:
    """A terminal that nobody reads, and the path of its other end.

    It says that it is writable while it has room for a byte, and blocks in a longer
    write: what a stalled disk does, without a disk.
    """
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    try:
        yield ours, os.ttyname(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def logging_to(path: str, rig: Rig, flush: str) -> Gateway:
    """A gateway whose standard output is the access log, and is `path`."""
    # Lines go out by the buffer, so in pieces of nearly PIPE_BUF bytes.
    return rig.gateway(
        rig.origin(),
        prefix=["sh", "-c", 'to=$1; shift; exec "$@" >"$to"', "sh", path],
        access_log="stdout",
        access_log_buffer="16k",
        access_log_flush=flush,
    )


def test_a_log_that_blocks_in_write_holds_up_no_request(rig: Rig) -> None:
    with unread_terminal() as (_, path):
        gateway = logging_to(path, rig, flush="60s")
        client = rig.client(gateway)
        for _ in range(600):
            assert client.ask("GET", "/size/1", {"User-Agent": "u" * 50}).status == 200
        assert gateway.stop() == 0


def test_lines_that_a_stalled_log_loses_are_told_at_both_ends(rig: Rig) -> None:
    with unread_terminal() as (ours, path):
        gateway = logging_to(path, rig, flush="10ms")
        client = rig.client(gateway)
        target = "/size/1?" + "q" * 3000
        for _ in range(900):
            assert client.ask("GET", target, LONG).status == 200
        gateway.stderr.wait_for(r"worker 0: access log: lines are lost, .*stalled")
        dropped = eventually(lambda: gateway.status()["totals"]["log_lines_dropped"])
        os.set_blocking(ours, False)

        def drain() -> bool:
            with contextlib.suppress(BlockingIOError):
                while os.read(ours, 1 << 20):
                    pass
            return "takes lines again" in gateway.stderr.text

        eventually(drain, within_s=10)
        (found,) = gateway.stderr.wait_for(
            r"worker 0: access log: (\d+) lines were lost in"
        )
        assert int(found[1]) >= dropped > 0


def test_a_full_disk_is_told_in_the_error_log(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), access_log="/dev/full", access_log_flush="10ms")
    assert gateway.fetch("GET", "/size/1").status == 200

    gateway.stderr.wait_for("access log: lines are lost, no space left on device")
    assert gateway.status()["totals"]["log_lines_dropped"] == 1


def test_lines_that_a_dead_worker_lost_stay_counted(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), access_log="/dev/full", access_log_flush="10ms")
    for lost in (1, 2):
        assert gateway.fetch("GET", "/size/1").status == 200
        eventually(
            lambda lost=lost: gateway.status()["totals"]["log_lines_dropped"] == lost
        )
        (pid,) = gateway.worker_pids()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: gateway.worker_pids() not in ([], [pid]))
