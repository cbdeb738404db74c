"""What the master prepares before its first fork."""

import os
from contextlib import ExitStack

import pytest

from fastgate.config.model import Config
from fastgate.control import boot, generation
from fastgate.control.signals import SignalQueue
from fastgate.errors import StartError


@pytest.fixture
def prepare(monkeypatch):
    """Prepare a configuration where a process may have so many open files."""
    with ExitStack() as at_exit:

        def prepared(files, **gateway):
            monkeypatch.setattr(generation, "raise_open_files", lambda *_: files)
            signals = SignalQueue()
            at_exit.callback(signals.close)
            config = Config(
                gateway={"workers": 1, **gateway},
                listeners={"web": {"address": "127.0.0.1:0"}},
                upstreams={"users": {"endpoints": ["127.0.0.1:9"]}},
                routes=[{"name": "all", "upstream": "users"}],
            )
            return boot.prepare(config, at_exit, signals)

        yield prepared


def test_workers_take_as_many_connections_as_there_are_files(prepare, capfd):
    estate = prepare(164, nofile=5000)

    assert estate.log.wait(5000)
    assert estate.current.values.gateway["max_conns"] == 50
    assert (
        "164 open files are enough for 50 connections per worker, not for"
        " max_conns = 2468" in capfd.readouterr().err
    )


def test_with_too_few_files_nothing_is_bound(prepare, capfd):
    with pytest.raises(StartError, match="may have 90 open files here, and needs 96"):
        prepare(90, nofile=5000)
    assert "listening" not in capfd.readouterr().err


def test_on_a_terminal_it_says_how_to_see_requests(prepare, monkeypatch, capfd):
    hint = "fastgate: requests are not logged: --access-log stdout shows them\n"
    assert prepare(5000).log.wait(5000)
    assert hint not in capfd.readouterr().err

    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert prepare(5000).log.wait(5000)
    assert hint in capfd.readouterr().err

    assert prepare(5000, access_log="stdout").log.wait(5000)
    assert hint not in capfd.readouterr().err


def test_a_child_begins_with_the_newest_error_log(prepare, tmp_path):
    path = tmp_path / "error.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    estate = prepare(5000, error_log=str(path))
    for _ in range(100):
        estate.log.info("x" * 1000)
    path.rename(tmp_path / "error.log.1")
    logs, fds = estate.open_logs()
    estate.take_logs(logs, list(fds))
    # Ours still waits for whoever reads the old one.
    assert not estate.log.wait(0)
    pid = os.fork()
    if pid == 0:
        fd = estate.current.error_log_fd
        estate.log.after_fork(fd, str(path), "info")
        estate.log.info("of the child")
        os._exit(0 if estate.log.wait(5000) else 1)
    _, status = os.waitpid(pid, 0)
    os.close(reader)

    assert os.waitstatus_to_exitcode(status) == 0
    assert "of the child" in path.read_text()
