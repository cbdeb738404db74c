"""The command line.

Runs in: master (the process that the user started, before it serves).

Nothing heavy is imported here: `--help` must answer at once, so models, the
master and the compiled core are imported by the command that needs them. No
traceback reaches a user: `main` turns every exception into one line.
"""

# Imports stand in the commands that need them.
# ruff: noqa: PLC0415

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastgate import __version__
from fastgate.config.commands import COMMANDS as SUMMARIES
from fastgate.config.commands import EXIT_CODES, QUICK_START
from fastgate.errors import (
    ConfigError,
    FastgateError,
    MachineError,
    UsageError,
    printable,
)

if TYPE_CHECKING:
    import argparse

    from fastgate.config.flags import Parser
    from fastgate.config.load import Loaded

EXIT_GOOD = 0
EXIT_INTERNAL = 3
EXIT_INTERRUPTED = 130

# What other programs call ours, and what they do by commands and we by signals.
ELSEWHERE = {"-t": "check", "-T": "check", "test": "check", "configtest": "check"}
ELSEWHERE |= {"start": "run", "serve": "run"}
SIGNALLED = ("-s", "stop", "quit", "reopen", "restart", "upgrade")

_COMMAND_LINES = "\n".join(f"  {name:9} {text}" for name, text in SUMMARIES.items())
_CODES = ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())

HELP = f"""\
usage: fastgate COMMAND [flags]

Reverse proxy, load balancer and API gateway in one program.

commands:
{_COMMAND_LINES}

  fastgate COMMAND --help shows its flags.

quick start:
  {QUICK_START}

Every setting is a key of the file, a flag and a variable; a flag goes before a
variable, a variable before the file. Sizes: 8k 16m 1g. Durations: 250ms 30s 5m 1h.
Exit codes: {_CODES}.
"""


def _load(found: "argparse.Namespace") -> "Loaded":
    from fastgate.config.flags import settings_given
    from fastgate.config.load import load

    given = settings_given(found)
    if found.config is None and not given and not _has_variables():
        raise UsageError(
            "which configuration? give a file (-c FILE), or --listen ADDRESS and"
            " --upstream ADDRESS"
        )
    loaded = load(found.config, given)
    for warning in loaded.warnings:
        _complain(f"warning: {warning}")
    return loaded


def _has_variables() -> bool:
    from fastgate.config.knobs import KNOBS
    from fastgate.config.quick import QUICK

    variables = [knob.variable for knob in KNOBS.values()]
    variables += [quick.variable for quick in QUICK.values()]
    return any(os.environ.get(variable) for variable in variables)


def _look_at_machine(loaded: "Loaded") -> None:
    """Refuse what could not be started here: `run` and `check` alike."""
    importlib.import_module("fastgate.control.preflight").check_machine(loaded)


def _print_config(loaded: "Loaded") -> int:
    from fastgate.config.dump import render

    print(render(loaded), end="")
    return EXIT_GOOD


def _run(arguments: Sequence[str]) -> int:
    from fastgate.config.flags import settings_parser

    summary = "Serve, from a file, flags or both."
    found = settings_parser("run", summary).read(arguments)
    loaded = _load(found)
    if found.print_config:
        return _print_config(loaded)
    _look_at_machine(loaded)
    master = importlib.import_module("fastgate.control.master")
    return int(master.run(loaded.config, reread=lambda: _reread(found)))


def _reread(found: "argparse.Namespace") -> "Loaded":
    """Read and check again what was given at the start: the same flags and file."""
    from fastgate.config.flags import settings_given
    from fastgate.config.load import load

    loaded = load(found.config, settings_given(found))
    _look_at_machine(loaded)
    return loaded


def _check(arguments: Sequence[str]) -> int:
    from fastgate.config.flags import settings_parser
    from fastgate.config.units import show

    summary = "Test a configuration. Binds no address and changes nothing."
    parser = settings_parser("check", summary)
    parser.add_argument("file", nargs="?", metavar="FILE", help="the same as -c FILE")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing when it is good"
    )
    found = parser.read(arguments)
    if found.file is not None:
        named = any(one.startswith(("-c", "--config")) for one in arguments)
        if named and found.file != found.config:
            raise UsageError(f"two files: {show(found.config)} and {show(found.file)}")
        found.config = found.file
    loaded = _load(found)
    if found.print_config:
        return _print_config(loaded)
    _look_at_machine(loaded)
    if not found.quiet:
        subject = printable(loaded.subject)
        print(f"fastgate: configuration {subject} test is successful")
    return EXIT_GOOD


def _demo(arguments: Sequence[str]) -> int:
    from fastgate.config.flags import add_settings, bare_parser, settings_given

    summary = (
        "Serve on 127.0.0.1:8080 over two embedded upstreams that name themselves."
        " Flags change anything."
    )
    parser = bare_parser("demo", summary)
    add_settings(parser)
    found = parser.read(arguments)
    demo = importlib.import_module("fastgate.control.demo")
    return int(demo.run(settings_given(found)))


def _status(arguments: Sequence[str]) -> int:
    parser = _admin_parser(
        "status", "Show workers, endpoints and listeners of a running gateway."
    )
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    found = parser.read(arguments)
    path = _admin_path(found)
    admin = importlib.import_module("fastgate.control.admin")
    return int(admin.status_command(path, found.json))


def _reload(arguments: Sequence[str]) -> int:
    parser = _admin_parser(
        "reload",
        "Have a running gateway read its configuration again. Where that fails it"
        " serves on as it did, and says why.",
    )
    path = _admin_path(parser.read(arguments))
    admin = importlib.import_module("fastgate.control.admin")
    return int(admin.reload_command(path))


def _drain(arguments: Sequence[str]) -> int:
    from fastgate.config.units import BadValueError, parse_duration_ms

    summary = "Let endpoints finish what they have, and give them nothing new."
    parser = _order_parser("drain", summary)
    parser.add_argument(
        "--wait",
        metavar="DURATION",
        help="return when nothing is in flight there, with 1 if that takes longer",
    )
    found = parser.read(arguments)
    wait_ms = None
    if found.wait is not None:
        try:
            wait_ms = parse_duration_ms(found.wait)
        except BadValueError as bad:
            raise UsageError(f"--wait: {bad}") from None
    return _order("drain", found, wait_ms)


def _disable(arguments: Sequence[str]) -> int:
    summary = "Give endpoints nothing new, and show them as down."
    return _order("disable", _order_parser("disable", summary).read(arguments))


def _enable(arguments: Sequence[str]) -> int:
    summary = "Take back what drain or disable said of endpoints."
    return _order("enable", _order_parser("enable", summary).read(arguments))


def _weight(arguments: Sequence[str]) -> int:
    summary = "Give endpoints another weight, until the file says another than it does."
    parser = _admin_parser("weight", summary)
    parser.add_argument("upstream", metavar="UPSTREAM")
    parser.add_argument("weight", metavar="WEIGHT", help="1..256")
    parser.add_argument("addresses", metavar="ADDRESS", nargs="+")
    found = parser.read(arguments)
    if not found.weight.isascii() or not found.weight.isdigit():
        raise UsageError(f"weight: '{found.weight}' is no number")
    return _order("weight", found, weight=int(found.weight))


def _order_parser(command: str, summary: str) -> "Parser":
    """Make the parser of a command about endpoints."""
    parser = _admin_parser(command, summary)
    parser.add_argument("upstream", metavar="UPSTREAM")
    parser.add_argument("addresses", metavar="ADDRESS", nargs="+")
    return parser


def _order(
    command: str, found: "argparse.Namespace", wait_ms: int | None = None, **more: int
) -> int:
    admin = importlib.import_module("fastgate.control.admin")
    order = {
        "command": command,
        "upstream": found.upstream,
        "addresses": found.addresses,
        **more,
    }
    return int(admin.endpoints_command(_admin_path(found), order, wait_ms))


def _admin_parser(command: str, summary: str) -> "Parser":
    """Make the parser of a command that speaks to a running gateway."""
    from fastgate.config.flags import add_config_flag, bare_parser
    from fastgate.config.knobs import KNOBS

    parser = bare_parser(command, summary)
    knob = KNOBS["admin_socket"]
    parser.add_argument(
        knob.flag,
        metavar=knob.metavar,
        default=os.environ.get(knob.variable) or None,
        help=f"Unix socket of its admin interface [env: {knob.variable}]",
    )
    add_config_flag(parser)
    return parser


def _admin_path(found: "argparse.Namespace") -> str:
    """Give the admin socket that is meant. Raises UsageError, ConfigError."""
    from fastgate.config.knobs import KNOBS

    knob = KNOBS["admin_socket"]
    path: str | None = found.admin_socket
    if path is None and found.config is not None:
        from fastgate.config.load import load

        path = load(found.config).config.gateway.admin_socket
    if path is None:
        raise UsageError(
            f"which gateway? give {knob.flag} PATH, {knob.variable} or a file"
            " (-c FILE) that sets admin_socket"
        )
    return path


def _version(arguments: Sequence[str]) -> int:
    from fastgate.config.flags import bare_parser

    summary = "Show the versions of everything in the program."
    bare_parser("version", summary).read(arguments)
    for name, version in versions().items():
        print(f"{name:12} {version}")
    return EXIT_GOOD


def versions() -> dict[str, str]:
    """Give the versions of the program and all that it stands on."""
    import platform
    import ssl
    from importlib import metadata

    found = {
        "fastgate": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "openssl": ssl.OPENSSL_VERSION,
    }
    for package in ("uvloop", "httptools", "pydantic"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    try:
        core = importlib.import_module("fastgate._core")
    except ImportError as error:
        found["core"] = f"not usable: {error}"
    else:
        found.update(core.native_versions())
    return found


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "check": _check,
    "demo": _demo,
    "status": _status,
    "reload": _reload,
    "drain": _drain,
    "disable": _disable,
    "enable": _enable,
    "weight": _weight,
    "version": _version,
}


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` names; returns the exit code.

    Raises whatever the command raises.
    """
    if not arguments:
        raise UsageError("no command given\nsee 'fastgate --help'")
    command, *rest = arguments
    if command == "help" and rest and rest[0] in COMMANDS:
        return COMMANDS[rest[0]](["--help"])
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return EXIT_GOOD
    if command in ("-v", "-V", "--version"):
        print(f"fastgate/{__version__}")
        return EXIT_GOOD
    if command in COMMANDS:
        return COMMANDS[command](rest)
    from fastgate.config.flags import refuse_flag_first
    from fastgate.config.units import nearest, show

    if command in SIGNALLED:
        raise UsageError(
            f"{show(command)} is no command of this release: the master (see pid_file)"
            " takes signals\nTERM stops, INT stops at once, HUP reloads,"
            " USR1 reopens the logs"
        )
    if command.startswith("-") and command not in ELSEWHERE:
        refuse_flag_first(command)
    meant = ELSEWHERE.get(command) or nearest(command, list(COMMANDS))
    hint = f"; did you mean '{meant}'?" if meant else ""
    raise UsageError(f"unknown command {show(command)}{hint}\nsee 'fastgate --help'")


def _complain(message: str) -> None:
    """Print each line of `message` on stderr behind the program's name."""
    lines = [line for line in message.splitlines() if line.strip()]
    # stderr may be closed, or a pipe whose reader has left: nobody to tell.
    try:
        for line in lines or [""]:
            print(f"fastgate: {printable(line)}", file=sys.stderr)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        _discard(2)


def _report_config(error: ConfigError) -> int:
    _complain(str(error))
    if error.subject:
        _complain(f"configuration {printable(error.subject)} test failed")
    is_usage = not isinstance(error, MachineError) and all(
        problem.file.startswith("--") or problem.file == "command line"
        for problem in error.problems
    )
    return UsageError.exit_code if is_usage else error.exit_code


def _discard(descriptor: int) -> None:
    """Send what is still buffered nowhere, so that exit stays silent."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    except OSError:
        pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run fastgate; returns the exit code. Only SystemExit passes through."""
    try:
        code = dispatch(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ConfigError as error:
        return _report_config(error)
    except FastgateError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has seen enough, as in `fastgate --help | head`.
        _discard(1)
        return EXIT_GOOD
    except Exception as error:
        return _report_internal(error)
    return code


def _report_internal(error: Exception) -> int:
    if os.environ.get("FASTGATE_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        _complain(
            f"not installed as a whole: {text}; install it again, for {sys.executable}"
        )
    else:
        _complain(
            f"internal error: {type(error).__name__}: {text}; run with"
            " FASTGATE_TRACEBACK=1 for the traceback"
        )
    if isinstance(error, OSError):
        _discard(1)
    return EXIT_INTERNAL
