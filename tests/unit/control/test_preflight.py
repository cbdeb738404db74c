"""What `check` and `run` find out about the machine before anything is bound."""

import os
import socket
from pathlib import Path

import pytest
from support.toml import SMALL

from fastgate.config import machine
from fastgate.config.load import load
from fastgate.control import preflight, privileges
from fastgate.control.preflight import check_machine
from fastgate.errors import MachineError, Problem


def problems(tmp_path, *settings, address="127.0.0.1:0"):
    path = tmp_path / "fastgate.toml"
    lines = "".join(f"{line}\n" for line in settings)
    tables = SMALL.replace("127.0.0.1:8080", address)
    path.write_text(f"[gateway]\n{lines}\n{tables}")
    found: tuple[Problem, ...] = ()
    try:
        check_machine(load(str(path), {}, {}))
    except MachineError as error:
        found = error.problems
    return [str(problem).removeprefix(f"{path}:") for problem in found]


def test_a_machine_that_can_run_it_has_nothing_to_say(tmp_path):
    settings = [
        f'{key} = "{tmp_path}/{key}"'
        for key in ("access_log", "error_log", "pid_file", "admin_socket")
    ]

    assert problems(tmp_path, *settings, address=f"unix:{tmp_path}/web") == []
    assert [path.name for path in tmp_path.iterdir()] == ["fastgate.toml"]


def test_an_error_page_that_cannot_be_read_is_told_with_its_place(tmp_path):
    page = f"{tmp_path}/502.html"
    setting = f'error_pages = {{ "5xx" = "{page}" }}'

    assert problems(tmp_path, setting) == [
        f"2:17: 5xx: '{page}' cannot be read: no such file or directory"
    ]
    Path(page).write_text("<p>down</p>")
    assert problems(tmp_path, setting) == []


def test_everything_that_run_would_fail_at_is_told_at_once(tmp_path):
    found = problems(
        tmp_path,
        'user = "no-such"',
        'group = "no-such"',
        f'access_log = "{tmp_path}/none/access.log"',
        f'error_log = "{tmp_path}"',
        f'pid_file = "{tmp_path}/none/pid"',
        f'admin_socket = "{tmp_path}/fastgate.toml"',
        address=f"unix:{tmp_path}/none/web",
    )

    none = f"there is no directory '{tmp_path}/none'"
    assert found == [
        "2:1: user: there is no user 'no-such'",
        "3:1: group: there is no group 'no-such'",
        f"4:1: access_log: '{tmp_path}/none/access.log' cannot be written: {none}",
        f"5:1: error_log: '{tmp_path}' cannot be written: it is a directory",
        f"6:1: pid_file: '{tmp_path}/none/pid' cannot be written: {none}",
        f"7:1: admin_socket: '{tmp_path}/fastgate.toml' cannot be listened on: the"
        " file exists and is no socket",
        f"10:1: address: '{tmp_path}/none/web' cannot be listened on: {none}",
    ]


@pytest.fixture
def no_rights(monkeypatch):
    """Be somebody who may write nowhere; root may everywhere."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)


@pytest.mark.usefixtures("no_rights")
def test_a_directory_without_rights_is_told(tmp_path):
    log = tmp_path / "access.log"
    denied = f"permission denied in '{tmp_path}'"

    assert problems(tmp_path, f'access_log = "{log}"', 'user = "root"') == [
        f"2:1: access_log: '{log}' cannot be written: {denied}",
        "3:1: user: cannot become user 'root': not started as root",
    ]
    log.touch()
    assert problems(tmp_path, f'access_log = "{log}"') == [
        f"2:1: access_log: '{log}' cannot be written: permission denied"
    ]


def test_a_port_that_takes_more_rights_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "may_bind", lambda port: port >= 1024)

    assert problems(tmp_path, address="127.0.0.1:1024") == []
    assert problems(tmp_path, address="127.0.0.1:443") == [
        "4:1: address: port 443 takes root or CAP_NET_BIND_SERVICE"
    ]


@pytest.mark.parametrize(
    ("capabilities", "first", "port", "may"),
    [
        ("0000000000000000", "1024", 80, False),
        ("0000000000000400", "1024", 80, True),
        ("0000000000000000", "80", 80, True),
        ("0000000000000000", "", 1023, False),
        ("0000000000000000", "1024", 1024, True),
        ("0000000000000000", "1024", 0, True),
    ],
)
def test_the_kernel_says_who_may_bind(tmp_path, capabilities, first, port, may):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"CapPrm:\t0\nCapEff:\t{capabilities}\n")
    limits = tmp_path / "sys/net/ipv4"
    limits.mkdir(parents=True)
    (limits / "ip_unprivileged_port_start").write_text(f"{first}\n")

    assert machine.may_bind(port, tmp_path) is may


def test_a_socket_of_a_gateway_that_runs_is_no_fault(tmp_path):
    path = tmp_path / "admin"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        assert problems(tmp_path, f'admin_socket = "{path}"') == []


def test_a_path_has_one_use(tmp_path):
    found = problems(
        tmp_path,
        f'access_log = "{tmp_path}/log"',
        f'error_log = "{tmp_path}/log"',
        f'pid_file = "{tmp_path}/log"',
        f'admin_socket = "{tmp_path}/web"',
        address=f"unix:{tmp_path}/web",
    )

    assert found == [
        f"4:1: pid_file: '{tmp_path}/log' is the path of access_log too",
        f"8:1: address: '{tmp_path}/web' is the path of admin_socket too",
    ]


def test_a_socket_whose_path_is_too_long_is_told(tmp_path):
    path = f"{tmp_path}/{'a' * 100}"

    (found,) = problems(tmp_path, f'admin_socket = "{path}"')
    assert found == (
        f"2:1: admin_socket: '{path}' cannot be listened on: a socket's path has 107"
        " bytes at most"
    )


def test_a_log_that_is_a_socket_is_told(tmp_path):
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))

    (found,) = problems(tmp_path, f'error_log = "{path}"')
    assert found == f"2:1: error_log: '{path}' cannot be written: it is a socket"


def test_too_few_open_files_are_told_with_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "obtainable_files", lambda _wanted: 16)

    (found,) = problems(tmp_path, "workers = 2")

    assert "a process may have 16 open files here, and needs 96 at least" in found
    assert "ulimit -n" in found


def test_a_limit_that_only_root_may_lift_is_not_counted_on(monkeypatch):
    monkeypatch.setattr(privileges, "hard_nofile", lambda: 1000)
    monkeypatch.setattr(privileges, "may_lift_files", lambda goal: goal <= 5000)

    wanted = ["auto", 500, 5000, 5001]
    assert [privileges.obtainable_files(one) for one in wanted] == [
        1000,
        500,
        5000,
        1000,
    ]


def test_nothing_is_opened_for_writing(tmp_path, monkeypatch):
    real = os.open

    def watched(path: str, flags: int, *rest: int, **how: int) -> int:
        assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), path
        return real(path, flags, *rest, **how)

    monkeypatch.setattr(os, "open", watched)
    log = tmp_path / "log"
    log.write_text("kept")
    before = log.stat()

    assert problems(tmp_path, f'access_log = "{log}"') == []
    assert Path(log).stat() == before
