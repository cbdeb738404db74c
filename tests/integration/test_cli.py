"""The command line, as a user meets it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.client import fetch
from support.gateway import command, environment, run_cli
from support.rig import Rig


def test_flags_alone_make_a_proxy(rig: Rig) -> None:
    a, b = rig.origin(name="a"), rig.origin(name="b")
    gateway = rig.gateway_by_flags(
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        a.address,
        "--upstream",
        f"{b.address};weight=3",
        "--balance",
        "round-robin",
        "--workers",
        "1",
    )
    with gateway.client() as client:
        answers = [client.ask("GET", "/size/1") for _ in range(40)]

    assert len(a.requests) == 10
    assert {answer.status for answer in answers} == {200}


def test_a_variable_sets_what_a_flag_would(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, flags=["--workers", "2"], server_header="file")
    assert len(gateway.worker_pids()) == 2

    by_env = rig.gateway(
        origin, env={"FASTGATE_SERVER_HEADER": "env"}, server_header="file"
    )
    assert by_env.fetch("GET", "/size/1").value("server") == b"env"


def test_the_version_is_printed() -> None:
    answer = run_cli("version")

    assert answer.returncode == 0
    assert re.search(r"\d+\.\d+\.\d+", answer.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--no-such-flag"],
        ["no-such-command"],
        ["run", "--workers"],
        ["check"],
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str]) -> None:
    answer = run_cli(*arguments)

    assert answer.returncode == 2
    assert answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_good_file_is_checked_without_binding(rig: Rig) -> None:
    taken = rig.origin()
    path = Path(rig.directory) / "good.toml"
    path.write_text(
        f'[listeners.main]\naddress = "{taken.address}"\n'
        '[upstreams.a]\nendpoints = ["127.0.0.1:1"]\n'
        '[[routes]]\nname = "a"\nupstream = "a"\n'
    )
    answer = run_cli("check", "-c", str(path))

    assert answer.returncode == 0, answer.stderr
    assert not taken.connections


def test_every_error_of_a_file_is_reported_with_its_place(rig: Rig) -> None:
    path = Path(rig.directory) / "bad.toml"
    path.write_text(
        '[gateway]\nworkers = "many"\ndrian = "5s"\n'
        '[listeners.main]\naddress = "nowhere"\n'
        '[upstreams.a]\nbalance = "bets"\nendpoints = []\n'
        '[[routes]]\nname = "a"\nupstream = "b"\n'
    )
    answer = run_cli("check", "-c", str(path))
    places = re.findall(rf"(?m)^(?:fastgate: )?{path}:(\d+):(\d+): .", answer.stderr)

    assert answer.returncode == 1
    assert {int(line) for line, _ in places} >= {2, 3, 5, 7, 8, 11}
    assert "did you mean" in answer.stderr
    assert "drain" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("text", ["[gateway\n", "\x00", "= 1", "[a]\n[a]\n"])
def test_a_file_that_is_not_toml_is_exit_code_1(rig: Rig, text: str) -> None:
    path = Path(rig.directory) / "broken.toml"
    path.write_text(text)
    answer = run_cli("check", "-c", str(path))

    assert answer.returncode == 1
    assert str(path) in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_file_that_is_not_there_is_reported_plainly(rig: Rig) -> None:
    answer = run_cli("check", "-c", f"{rig.directory}/none.toml")

    assert answer.returncode in (1, 2)
    assert "none.toml" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_printed_configuration_can_be_used(rig: Rig) -> None:
    origin = rig.origin()
    flags = ["--listen", "127.0.0.1:0", "--upstream", origin.address]
    printed = run_cli("run", "--print-config", *flags, "--drain", "7s")
    assert printed.returncode == 0, printed.stderr
    path = Path(rig.directory) / "printed.toml"
    path.write_text(printed.stdout)

    assert run_cli("check", "-c", str(path)).returncode == 0
    gateway = rig.gateway_by_flags("-c", str(path), "--workers", "1")
    assert gateway.fetch("GET", "/size/1").status == 200


def test_help_names_every_command_and_units() -> None:
    answer = run_cli("--help")
    run = run_cli("run", "--help")

    assert answer.returncode == run.returncode == 0
    for name in ("run", "check", "demo", "version", "status"):
        assert name in answer.stdout
    for word in ("--keepalive", "--max-header", "DURATION", "SIZE"):
        assert word in run.stdout


def test_the_demo_serves_two_upstreams_that_name_themselves(rig: Rig) -> None:
    process = subprocess.Popen(
        command("demo", "--listen", "127.0.0.1:0"),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = None
        assert process.stdout
        for line in process.stdout:
            if found := re.search(r"listening on http://([\d.]+:\d+)", line):
                address = found[1]
            if address and "ready" in line:
                break
        assert address
        names = {fetch(address).body.split(b"\n")[0] for _ in range(10)}
    finally:
        process.terminate()
        process.wait(15)
        process.stdout.close()

    assert len(names) == 2
    assert process.returncode == 0


def test_a_terminal_without_colours_gets_none(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin())
    out = subprocess.run(
        command("status", "--admin-socket", gateway.admin_socket),
        env=environment({"NO_COLOR": "1"}),
        capture_output=True,
        check=True,
    ).stdout

    assert b"\x1b[" not in out


RULES = ", ".join(f"X-{n} = '1'" for n in range(65))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("workers = 1", "user = 'no-such'", "2:1: user: there is no user 'no-such'"),
        ("workers = 1", "access_log = '/none/a'", "there is no directory '/none'"),
        ("workers = 1", "admin_socket = '/none/a'", "there is no directory '/none'"),
        ("workers = 1", "workers = 257", "workers: 257 is outside 1..256"),
        ("workers = 1", "access_log_buffer = '1k'", "'1k' is outside 16k..16m"),
        ("#", f"request_headers.set = {{ {RULES} }}", "65 rules are more than 64"),
        ("127.0.0.1:0", "127.0.0.1:9", "own listener 'main'"),
        ("127.0.0.1:0", "0.0.0.0:9", "own listener 'main'"),
    ],
)
def test_check_refuses_what_run_refuses_in_the_same_words(
    rig: Rig, old: str, new: str, message: str
) -> None:
    path = Path(rig.directory) / "refused.toml"
    text = (
        "[gateway]\nworkers = 1\n[listeners.main]\naddress = '127.0.0.1:0'\n"
        "[upstreams.a]\nendpoints = ['127.0.0.1:9']\n"
        "[[routes]]\nname = 'a'\nupstream = 'a'\n#\n"
    )
    path.write_text(text.replace(old, new))
    check = run_cli("check", "-c", str(path))
    run = run_cli("run", "-c", str(path))

    assert message in check.stderr
    assert check.returncode in (1, 3)
    assert (run.returncode, run.stderr) == (check.returncode, check.stderr)


@pytest.mark.parametrize("command", ["check", "run"])
def test_too_few_open_files_are_the_cause_that_is_told(command: str) -> None:
    flags = "--listen 127.0.0.1:0 --upstream 127.0.0.1:9"
    fastgate = f"{sys.executable} -m fastgate {command} {flags}"
    answer = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -n 16; exec {fastgate}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert answer.returncode == 3
    assert "a process may have 16 open files here, and needs 96" in answer.stderr
    assert "internal" not in answer.stderr
    assert "RuntimeError" not in answer.stderr


def test_check_takes_the_file_without_a_flag(rig: Rig) -> None:
    path = Path(rig.directory) / "none.toml"

    assert (
        run_cli("check", str(path)).stderr == run_cli("check", "-c", str(path)).stderr
    )
    both = run_cli("check", "-c", "other.toml", str(path))
    assert both.returncode == 2
    assert both.stderr.startswith("fastgate: two files: 'other.toml' and ")
