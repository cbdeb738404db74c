import os
import pwd
import resource
import types

import pytest

from fastgate.control.privileges import (
    Identity,
    find_identity,
    fitting_connections,
    raise_open_files,
    too_few_files,
)
from fastgate.errors import StartError


@pytest.fixture
def limits():
    """Put back the limit of open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_nobody_in_particular_is_no_change():
    assert find_identity(None, None) == Identity(None, None)


def test_a_user_brings_its_group(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    nobody = pwd.getpwnam("nobody")

    assert find_identity("nobody", None) == Identity(nobody.pw_uid, nobody.pw_gid)
    assert find_identity("nobody", "root") == Identity(nobody.pw_uid, 0)
    assert find_identity(None, "root") == Identity(None, 0)


@pytest.mark.parametrize("names", [("no-such", None), (None, "no-such")])
def test_an_unknown_name_is_told(names):
    with pytest.raises(StartError, match=r"there is no (user|group) 'no-such'"):
        find_identity(*names)


def test_only_root_can_become_another(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)

    with pytest.raises(StartError, match="cannot become user 'nobody'"):
        find_identity("nobody", None)


def test_open_files_are_set_as_asked(limits, log):
    assert raise_open_files(100, log) == 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 100


def test_auto_takes_the_hard_limit(limits, log):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    raised = raise_open_files("auto", log)

    assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64


def test_a_limit_that_cannot_be_had_is_a_warning(limits, log, monkeypatch):
    real = resource.setrlimit

    def refuse(which, values):
        if values[0] > limits[1]:
            raise ValueError("not allowed to raise maximum limit")
        real(which, values)

    monkeypatch.setattr(resource, "setrlimit", refuse)
    wanted = limits[1] + 1

    assert raise_open_files(wanted, log) == limits[1]
    expected = f"cannot have {wanted} open files (nofile): going on with {limits[1]}"
    assert log.lines == [("warning", expected)]


def gateway(nofile, max_conns):
    return types.SimpleNamespace(nofile=nofile, max_conns=max_conns)


def test_connections_follow_the_files_that_were_really_had(log):
    computed = gateway(nofile=1064, max_conns=500)

    assert fitting_connections(computed, 264, log) == 100
    assert log.lines == [
        (
            "warning",
            "264 open files are enough for 100 connections per worker,"
            " not for max_conns = 500",
        )
    ]


def test_connections_that_were_asked_for_stay_where_they_can(log):
    assert fitting_connections(gateway(nofile=128, max_conns=128), 128, log) == 128
    assert fitting_connections(gateway(nofile=5000, max_conns=200), 200, log) == 200
    assert fitting_connections(gateway(nofile=5000, max_conns=200), 164, log) == 50
    assert len(log.lines) == 1


@pytest.mark.parametrize(
    ("files", "workers", "sockets", "needed"),
    [(95, 1, 1, 96), (96, 1, 1, None), (200, 32, 128, 224), (224, 32, 128, None)],
)
def test_too_few_files_are_told_with_what_is_needed(files, workers, sockets, needed):
    why = too_few_files(files, workers, sockets)

    assert (why is None) == (needed is None)
    if why:
        assert f"may have {files} open files here, and needs {needed} at least" in why
