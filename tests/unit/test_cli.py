import io
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from support.toml import SMALL

from fastgate import __version__, cli
from fastgate.config.flags import settings_parser
from fastgate.config.knob import Kind
from fastgate.config.knobs import KNOBS
from fastgate.config.quick import QUICK
from fastgate.errors import StartError

GOOD = f'[gateway]\nadmin_socket = "/run/a.sock"\n{SMALL}'
QUICK_START = ("--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9001")


Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FASTGATE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put functions in place of a module that another process would run."""

    def install(name: str, **functions: object) -> None:
        module = types.ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)

    return install


def fastgate(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "fastgate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# -- help


def test_help_names_every_command(capsys: Output) -> None:
    assert cli.main(["--help"]) == 0

    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in cli.COMMANDS)


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_help(command: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])

    assert left.value.code == 0
    assert f"usage: fastgate {command}" in capsys.readouterr().out


def test_help_may_be_asked_for_by_a_word(capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["help", "status"])

    assert left.value.code == 0
    assert "usage: fastgate status" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "check"])
def test_the_help_of_a_command_shows_every_knob_with_unit_variable_and_default(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    text = settings_parser(command, "").format_help()

    flat = " ".join(text.split())
    for knob in KNOBS.values():
        optional = knob.kind is Kind.SWITCH
        unit = f"[{knob.metavar}]" if optional else knob.metavar
        flags = ", ".join((knob.flag, *knob.aliases))
        assert f"\n  {flags} {unit}" in text
        assert f"env: {knob.variable}; default: {knob.default_text}" in flat
    for quick in QUICK.values():
        assert f"\n  {quick.flag} {quick.metavar}" in text
        assert f"[env: {quick.variable}]" in flat


def test_the_knobs_of_help_are_the_known_ones() -> None:
    flags = set(settings_parser("run", "").flags())

    assert flags == {
        *("-h", "--help", "-c", "--config", "--print-config"),
        *("--listen", "--upstream", "--balance", "--hash-key"),
        *("--workers", "--pin", "--user", "--group", "--pid-file", "--admin-socket"),
        *("--drain", "--nofile", "--max-conns", "--reuseport", "--backlog"),
        *("--accept-batch", "--tcp-nodelay", "--tcp-keepalive", "--tcp-user-timeout"),
        *("--keepalive", "--keepalive-requests", "--header-timeout"),
        *("--body-timeout", "--min-rate", "--send-timeout", "--max-header"),
        *("--max-headers", "--max-target", "--max-body", "--buffer-response"),
        *("--lingering-time", "--lingering-timeout", "--min-send-rate"),
        *("--tcp-notsent-lowat", "--underscores", "--trace", "--refused-methods"),
        *("--max-response-header", "--max-response-headers"),
        *("--connect-timeout", "--upstream-timeout", "--between-timeout"),
        *("--half-close", "--tunnel-timeout", "--buffer-request"),
        *("--deadline", "--retries", "--retry-budget", "--upstream-pool"),
        *("--upstream-idle", "--upstream-max", "--queue", "--queue-timeout", "--eject"),
        *("--access-log", "--access-log-format", "--access-log-buffer"),
        *("--access-log-flush", "--error-log", "--log-level", "--server-header"),
        *("--via", "--via-name", "--forwarded", "--x-forwarded", "--request-id"),
        *("--trusted-proxies", "--forwarded-allow-ips", "--ambiguous-paths"),
    }


def test_help_imports_neither_models_nor_argparse() -> None:
    code = (
        "import sys; from fastgate.cli import main; main(['--help'])\n"
        "heavy = {'pydantic', 'argparse', 'asyncio', 'dataclasses'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_help_of_run_does_not_import_the_models() -> None:
    code = (
        "import sys; from fastgate.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('pydantic' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )

    assert done.returncode == 0


# -- usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command given"),
        (["chekk"], "unknown command 'chekk'; did you mean 'check'?"),
        (["xyzzy"], "unknown command 'xyzzy'"),
        (
            ["--listen", ":80"],
            "'--listen' before a command; did you mean 'fastgate run --listen'?",
        ),
        (
            ["--wrokers=3"],
            "'--wrokers' before a command; did you mean 'fastgate run --workers'?",
        ),
        (["--hepl"], "'--hepl' before a command; did you mean '--help'?"),
        (
            ["run", "--wrokers", "3"],
            "unknown flag '--wrokers'; did you mean '--workers'?",
        ),
        (
            ["run", "--keepalive-request=3"],
            "unknown flag '--keepalive-request'; did you mean '--keepalive-requests'?",
        ),
        (["run", "--work", "3"], "unknown flag '--work'; did you mean '--workers'?"),
        (["run", "-Z"], "unknown flag '-Z'"),
        (["run", "extra"], "unexpected argument 'extra'"),
        (["run", "--drain"], "--drain: needs a value"),
        (["check", "-c"], "--config: needs a value"),
        (["status"], "which gateway? give --admin-socket PATH, FASTGATE_ADMIN_SOCKET"),
        (["status", "--jsno"], "unknown flag '--jsno'; did you mean '--json'?"),
        (["version", "x"], "unexpected argument 'x'"),
        (
            ["run"],
            "which configuration? give a file (-c FILE), or --listen ADDRESS and",
        ),
        (["check"], "which configuration? give a file (-c FILE), or --listen ADDRESS"),
        (["run", "--listen", ":80"], "command line: no route: add [[routes]] or"),
        (["start"], "unknown command 'start'; did you mean 'run'?"),
        (["-t"], "unknown command '-t'; did you mean 'check'?"),
        (
            ["-s", "stop"],
            "'-s' is no command of this release: the master (see pid_file)",
        ),
        (["upgrade"], "'upgrade' is no command of this release: the master"),
        (["run", *QUICK_START, "--drain", "9x"], "--drain: '9x' is not a duration"),
        (["run", *QUICK_START, "--balance", "hahs"], "--balance: 'hahs' is not one of"),
    ],
)
def test_bad_usage_is_told_in_lines_and_ends_with_2(
    arguments: list[str], message: str, capsys: Output
) -> None:
    code = cli.main(arguments)

    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith(f"fastgate: {message}")
    assert all(line.startswith("fastgate: ") for line in captured.err.splitlines())


# -- check


def test_a_good_file_is_told_on_stdout(good: str, capsys: Output) -> None:
    assert cli.main(["check", "-c", good]) == 0

    captured = capsys.readouterr()
    assert captured.out == f"fastgate: configuration {good} test is successful\n"
    assert captured.err == ""


def test_a_quiet_check_of_a_good_file_says_nothing(good: str, capsys: Output) -> None:
    assert cli.main(["check", "-q", "-c", good]) == 0

    assert capsys.readouterr() == ("", "")


def test_the_file_may_be_named_by_a_variable(
    good: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTGATE_CONFIG", good)

    assert cli.main(["check"]) == 0
    assert good in capsys.readouterr().out


def test_every_fault_of_a_file_is_a_line_and_the_last_says_it_failed(
    tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(GOOD + "deadlin = 1\nmatch = { hots = 'a' }\n[gatewya]\n")

    code = cli.main(["check", "-c", str(path)])

    captured = capsys.readouterr()
    assert code == 1
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"fastgate: {path}:10:1: unknown key 'deadlin' in [[routes]];"
        " did you mean 'deadline'?",
        f"fastgate: {path}:11:11: unknown key 'hots' in match of [[routes]];"
        " did you mean 'host'?",
        f"fastgate: {path}:12:2: unknown key 'gatewya' in the top of the file;"
        " did you mean 'gateway'?",
        f"fastgate: configuration {path} test failed",
    ]


def test_a_bad_variable_is_bad_configuration(
    good: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTGATE_DRAIN", "9x")

    assert cli.main(["check", "-c", good]) == 1
    assert "fastgate: FASTGATE_DRAIN: '9x' is not" in capsys.readouterr().err


def test_a_missing_file_is_bad_configuration(tmp_path: Path, capsys: Output) -> None:
    assert cli.main(["check", "-c", str(tmp_path / "none")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_a_warning_does_not_fail_the_check(
    good: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTGATE_WROKERS", "9x")

    assert cli.main(["check", "-c", good]) == 0
    assert capsys.readouterr().err.startswith("fastgate: warning: FASTGATE_WROKERS: ")


def test_check_makes_no_socket(good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    if event.startswith('socket.'): raise SystemExit(event)\n"
        "sys.addaudithook(refuse)\n"
        "from fastgate.cli import main\n"
        f"sys.exit(main(['check', '-c', {good!r}]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


# -- run


def test_run_gives_the_configuration_to_the_master(
    good: str, install: Callable[..., None]
) -> None:
    seen: list[object] = []

    def run(config: object, **_more: object) -> int:
        seen.append(config)
        return 0

    install("fastgate.control.master", run=run)

    assert cli.main(["run", "-c", good, "--drain", "5s", "--via", "--workers=3"]) == 0

    gateway = seen[0].gateway  # type: ignore[attr-defined]
    assert (gateway.drain, gateway.via, gateway.workers) == (5000, True, 3)


def test_a_switch_may_stand_alone_before_another_flag(
    good: str, install: Callable[..., None]
) -> None:
    seen: list[object] = []
    install(
        "fastgate.control.master",
        run=lambda config, reread: seen.append(config) or 0,
    )

    cli.main(["run", "-c", good, "--via", "--reuseport", "off", "--forwarded=on"])

    gateway = seen[0].gateway  # type: ignore[attr-defined]
    assert (gateway.via, gateway.reuseport, gateway.forwarded) == (True, False, True)


def test_an_alias_is_the_same_flag(good: str, install: Callable[..., None]) -> None:
    seen: list[object] = []
    install(
        "fastgate.control.master",
        run=lambda config, reread: seen.append(config) or 0,
    )

    cli.main(["run", "-c", good, "--forwarded-allow-ips", "10.0.0.0/8,::1/128"])

    gateway = seen[0].gateway  # type: ignore[attr-defined]
    assert gateway.trusted_proxies == ("10.0.0.0/8", "::1/128")


def test_printing_the_configuration_starts_nothing(
    good: str, install: Callable[..., None], capsys: Output, tmp_path: Path
) -> None:
    install("fastgate.control.master")  # has no run

    assert cli.main(["run", "-c", good, "--drain", "5s", "--print-config"]) == 0

    printed = capsys.readouterr().out
    assert 'drain = "5s"  # --drain\n' in printed
    again = tmp_path / "again.toml"
    again.write_text(printed)
    assert cli.main(["check", "-c", str(again)]) == 0


def test_what_cannot_start_ends_with_3(
    good: str, install: Callable[..., None], capsys: Output
) -> None:
    def run(_config: object, **_more: object) -> int:
        raise StartError("127.0.0.1:8080: Address already in use")

    install("fastgate.control.master", run=run)

    assert cli.main(["run", "-c", good]) == 3
    assert capsys.readouterr().err == (
        "fastgate: 127.0.0.1:8080: Address already in use\n"
    )


# -- no traceback


def test_an_unforeseen_exception_is_one_line(
    good: str, install: Callable[..., None], capsys: Output
) -> None:
    def run(_config: object, **_more: object) -> int:
        raise ZeroDivisionError("a\nb")

    install("fastgate.control.master", run=run)

    assert cli.main(["run", "-c", good]) == 3
    assert capsys.readouterr().err == (
        "fastgate: internal error: ZeroDivisionError: a b; run with"
        " FASTGATE_TRACEBACK=1 for the traceback\n"
    )


def test_the_traceback_is_shown_on_demand(
    good: str,
    install: Callable[..., None],
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(_config: object, **_more: object) -> int:
        raise ZeroDivisionError

    install("fastgate.control.master", run=run)
    monkeypatch.setenv("FASTGATE_TRACEBACK", "1")

    cli.main(["run", "-c", good])

    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_interrupt_is_one_line(
    good: str, install: Callable[..., None], capsys: Output
) -> None:
    def run(_config: object, **_more: object) -> int:
        raise KeyboardInterrupt

    install("fastgate.control.master", run=run)

    assert cli.main(["run", "-c", good]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "fastgate: interrupted\n"


def test_a_module_that_is_missing_is_one_line(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastgate.control.admin", None)

    assert cli.main(["status", "--admin-socket", "/x"]) == 3

    err = capsys.readouterr().err
    assert err.startswith("fastgate: not installed as a whole: import of fastgate.")
    assert f"install it again, for {sys.executable}" in err
    assert err.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    code = (
        "import os, sys\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "from fastgate.cli import main\n"
        "sys.exit(main(['--help']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fastgate", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 3
    assert done.stderr.startswith("fastgate: internal error: OSError: ")
    assert done.stderr.count("\n") == 1


def test_closed_streams_are_no_fault() -> None:
    command = f"{sys.executable} -m fastgate bad-command >&- 2>&-"

    done = subprocess.run(["/bin/sh", "-c", command], check=False)

    assert done.returncode == 2


def test_bytes_that_are_no_text_are_told_in_ascii() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastgate", "run", b"--drain=\xff\x1b[31m"],
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
        check=False,
    )

    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stderr


@pytest.mark.parametrize("argument", ["a\x1b[31m\nb", "--a\x1b[31m\nb", "ä" * 10_000])
@pytest.mark.parametrize("command", [(), ("run",), ("status",)])
def test_control_characters_are_never_echoed(
    command: tuple[str, ...], argument: str, capsys: Output
) -> None:
    assert cli.main([*command, argument]) == 2

    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert len(err) < 1000
    assert all(line.startswith("fastgate: ") for line in err.splitlines())


def test_control_characters_of_a_file_are_never_echoed(
    tmp_path: Path, capsys: Output
) -> None:
    evil = "\\u001b[31m\\n"
    path = tmp_path / "evil\x1b\n.toml"
    path.write_text(
        GOOD + f'match = {{ path = "x{evil}" }}\nhost = "{evil}"\n"{evil}" = 1\n'
        f'[upstreams."{evil}"]\nendpoints = ["http://{evil}"]\n"{evil}" = 1\n'
        f'[listeners."{evil}"]\naddress = "{evil}"\n'
        '[[routes]]\nname = "x"\nupstream = "users"\n'
        f'request_headers = {{ set = {{ "{evil}" = "{evil}" }} }}\n'
    )

    assert cli.main(["check", "-c", str(path)]) == 1

    err = capsys.readouterr().err
    lines = err.splitlines()
    assert "\x1b" not in err
    assert len(lines) == 10
    assert all(line.startswith("fastgate: ") for line in lines)


# -- version and status


def test_the_short_version_is_one_word(capsys: Output) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastgate/{__version__}\n"


def test_version_names_everything_underneath(
    install: Callable[..., None], capsys: Output
) -> None:
    install("fastgate._core", native_versions=lambda: {"llhttp": "9.3.0", "abi": "ok"})

    assert cli.main(["version"]) == 0

    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["fastgate"] == __version__
    assert lines["llhttp"] == "9.3.0"
    assert lines["openssl"].startswith("OpenSSL")
    assert {"python", "uvloop", "httptools", "pydantic"} <= set(lines)


def test_version_says_why_the_core_cannot_be_used(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastgate._core", None)

    assert cli.main(["version"]) == 0
    assert "\ncore         not usable: " in capsys.readouterr().out


@pytest.mark.parametrize("by", ["flag", "variable", "file"])
def test_status_finds_the_socket(
    by: str, good: str, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    install(
        "fastgate.control.admin",
        status_command=lambda path, as_json: seen.append((path, as_json)) or 0,
    )
    arguments = {
        "flag": ["--admin-socket", "/run/a.sock"],
        "variable": [],
        "file": ["-c", good],
    }[by]
    if by == "variable":
        monkeypatch.setenv("FASTGATE_ADMIN_SOCKET", "/run/a.sock")

    assert cli.main(["status", "--json", *arguments]) == 0
    assert seen == [("/run/a.sock", True)]


def test_main_as_a_module_ends_with_the_code() -> None:
    assert fastgate("version").returncode == 0
    assert fastgate("nothing").returncode == 2


def test_output_is_flushed_when_stdout_is_a_buffer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffer = io.StringIO()
    monkeypatch.setattr(sys, "stdout", buffer)

    assert cli.main(["--help"]) == 0
    assert buffer.getvalue() == cli.HELP
