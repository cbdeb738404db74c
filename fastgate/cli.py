"""The command line.

Runs in: master (the process that the user started, before it serves).

Nothing heavy is imported here: `--help` must answer at once, so models, the
master and the compiled core are imported by the command that needs them. No
traceback reaches a user: `main` turns every exception into one line.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fastgate import __version__
from fastgate.config.knobs import GROUPS, KNOBS, Kind, Knob
from fastgate.config.quick import QUICK
from fastgate.config.units import nearest, show
from fastgate.errors import ConfigError, FastgateError, UsageError

EXIT_GOOD = 0
EXIT_INTERNAL = 3
EXIT_INTERRUPTED = 130

HELP = """\
usage: fastgate COMMAND [flags]

Reverse proxy, load balancer and API gateway in one program.

commands:
  run       serve, from a file (-c FILE), flags or both
  check     test a configuration; binds and changes nothing
  demo      serve on 127.0.0.1:8080 over two embedded upstreams
  status    show workers, endpoints and listeners of a running gateway
  version   show the versions of everything in the program

  fastgate COMMAND --help shows its flags.

quick start:
  fastgate run --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001,127.0.0.1:9002

Every setting is a key of the file, a flag and a variable; a flag goes before a
variable, a variable before the file. Sizes: 8k 16m 1g. Durations: 250ms 30s 5m 1h.
Exit codes: 0 good, 1 bad configuration, 2 bad usage, 3 could not start.
"""


class _Parser(argparse.ArgumentParser):
    """A parser that raises UsageError, and knows its flags."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument ([^:/]*/)?([^:]*): ", r"\2: ", message)
        message = re.sub(
            r"expected (one|at least one) argument", "needs a value", message
        )
        raise UsageError(f"{message}\nsee '{self.prog} --help'")

    def flags(self) -> list[str]:
        """Give every flag, long and short."""
        return [flag for action in self._actions for flag in action.option_strings]

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all of `arguments`. Raises UsageError naming what is unknown."""
        found, unknown = self.parse_known_args(arguments)
        if unknown:
            self._refuse(unknown[0])
        return found

    def _refuse(self, first: str) -> NoReturn:
        if not first.startswith("-"):
            self.error(f"unexpected argument {show(first)}")
        flag = first.partition("=")[0]
        meant = nearest(flag, [f for f in self.flags() if f.startswith("--")])
        hint = f"; did you mean '{meant}'?" if meant else ""
        self.error(f"unknown flag {show(flag)}{hint}")


class _Formatter(argparse.HelpFormatter):
    """Help as wide as the terminal, up to 100 columns."""

    def __init__(self, prog: str) -> None:
        import shutil  # noqa: PLC0415 (the shortest help needs none)

        width = min(shutil.get_terminal_size().columns, 100) - 2
        super().__init__(prog, max_help_position=32, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # `-c, --config FILE`, not `-c FILE, --config FILE`.
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        metavar = str(action.metavar)
        if action.nargs == "?":
            metavar = f"[{metavar}]"
        return f"{', '.join(action.option_strings)} {metavar}"


def _parser(command: str, summary: str) -> _Parser:
    return _Parser(
        prog=f"fastgate {command}",
        usage=f"fastgate {command} [flags]",
        description=summary,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )


def _help_of(knob: Knob) -> str:
    notes = [f"env: {knob.variable}", f"default: {knob.default_text}"]
    if knob.range_text:
        notes.append(knob.range_text)
    return f"{knob.help} [{'; '.join(notes)}]".replace("%", "%%")


def _add_config_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=os.environ.get("FASTGATE_CONFIG") or None,
        help="configuration file, TOML [env: FASTGATE_CONFIG; default: none]",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flag of every setting, in groups."""
    start = parser.add_argument_group("quick start, without a file")
    for quick in QUICK.values():
        start.add_argument(
            quick.flag,
            dest=quick.key,
            metavar=quick.metavar,
            action="append",
            default=argparse.SUPPRESS,
            help=f"{quick.help} [env: {quick.variable}]",
        )
    for title in GROUPS:
        group = parser.add_argument_group(title)
        for knob in KNOBS.values():
            if knob.group != title:
                continue
            is_switch = knob.kind is Kind.SWITCH
            group.add_argument(
                knob.flag,
                *knob.aliases,
                dest=knob.key,
                metavar=knob.metavar,
                nargs="?" if is_switch else None,
                const="on" if is_switch else None,
                default=argparse.SUPPRESS,
                help=_help_of(knob),
            )


def settings_parser(command: str, summary: str) -> _Parser:
    """Make the parser of a command that takes a configuration."""
    parser = _parser(command, summary)
    _add_config_flag(parser)
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the whole configuration as a file, with where each value came"
        " from, and leave",
    )
    _add_settings(parser)
    return parser


def _load(found: argparse.Namespace) -> Any:
    from fastgate.config.load import load  # noqa: PLC0415 (pydantic)

    given = vars(found)
    flags = {key: given[key] for key in (*QUICK, *KNOBS) if key in given}
    loaded = load(found.config, flags)
    for warning in loaded.warnings:
        print(f"fastgate: warning: {warning}", file=sys.stderr)
    return loaded


def _print_config(loaded: Any) -> int:
    from fastgate.config.dump import render  # noqa: PLC0415 (pydantic)

    print(render(loaded), end="")
    return EXIT_GOOD


def _run(arguments: Sequence[str]) -> int:
    summary = "Serve, from a file, flags or both."
    found = settings_parser("run", summary).read(arguments)
    loaded = _load(found)
    if found.print_config:
        return _print_config(loaded)
    master = importlib.import_module("fastgate.control.master")
    return int(master.run(loaded.config))


def _check(arguments: Sequence[str]) -> int:
    summary = "Test a configuration. Binds no address and changes nothing."
    parser = settings_parser("check", summary)
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing when it is good"
    )
    found = parser.read(arguments)
    loaded = _load(found)
    if found.print_config:
        return _print_config(loaded)
    if not found.quiet:
        print(f"fastgate: configuration {loaded.subject} test is successful")
    return EXIT_GOOD


def _demo(arguments: Sequence[str]) -> int:
    summary = (
        "Serve on 127.0.0.1:8080 over two embedded upstreams that name themselves."
        " Flags change anything."
    )
    parser = _parser("demo", summary)
    _add_settings(parser)
    found = parser.read(arguments)
    demo = importlib.import_module("fastgate.control.demo")
    return int(demo.run(vars(found)))


def _status(arguments: Sequence[str]) -> int:
    summary = "Show workers, endpoints and listeners of a running gateway."
    parser = _parser("status", summary)
    knob = KNOBS["admin_socket"]
    parser.add_argument(
        knob.flag,
        metavar=knob.metavar,
        default=os.environ.get(knob.variable) or None,
        help=f"Unix socket of its admin interface [env: {knob.variable}]",
    )
    _add_config_flag(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    found = parser.read(arguments)
    path = found.admin_socket
    if path is None and found.config is not None:
        from fastgate.config.load import load  # noqa: PLC0415 (pydantic)

        path = load(found.config).config.gateway.admin_socket
    if path is None:
        raise UsageError(
            f"which gateway? give {knob.flag} PATH, {knob.variable} or a file"
            " (-c FILE) that sets admin_socket"
        )
    admin = importlib.import_module("fastgate.control.admin")
    return int(admin.status_command(path, found.json))


def _version(arguments: Sequence[str]) -> int:
    _parser("version", "Show the versions of everything in the program.").read(
        arguments
    )
    for name, version in versions().items():
        print(f"{name:12} {version}")
    return EXIT_GOOD


def versions() -> dict[str, str]:
    """Give the versions of the program and all that it stands on."""
    import platform  # noqa: PLC0415 (only for this command, like the next two)
    import ssl  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

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
    "version": _version,
}


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` names; returns the exit code.

    Raises whatever the command raises.
    """
    if not arguments:
        raise UsageError("no command given\nsee 'fastgate --help'")
    command, *rest = arguments
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return EXIT_GOOD
    if command in ("-v", "-V", "--version"):
        print(f"fastgate/{__version__}")
        return EXIT_GOOD
    if command in COMMANDS:
        return COMMANDS[command](rest)
    if command.startswith("-"):
        flag = command.partition("=")[0]
        known = [knob.flag for knob in KNOBS.values()]
        known += [quick.flag for quick in QUICK.values()]
        known += ["--help", "--version", "--config", "-c"]
        meant = flag if flag in known else nearest(flag, known)
        if meant in ("--help", "--version"):
            hint = f"; did you mean '{meant}'?"
        elif meant:
            hint = f"; did you mean 'fastgate run {meant}'?"
        else:
            hint = ""
        raise UsageError(f"{show(flag)} before a command{hint}\nsee 'fastgate --help'")
    meant = nearest(command, list(COMMANDS))
    hint = f"; did you mean '{meant}'?" if meant else ""
    raise UsageError(f"unknown command {show(command)}{hint}\nsee 'fastgate --help'")


def _complain(message: str) -> None:
    """Print each line of `message` on stderr behind the program's name."""
    lines = [line for line in message.splitlines() if line.strip()]
    # stderr may be closed, or a pipe whose reader has left: nobody to tell.
    try:
        for line in lines or [""]:
            print(f"fastgate: {line}", file=sys.stderr)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        _discard(2)


def _report_config(error: ConfigError) -> int:
    _complain(str(error))
    if error.subject:
        _complain(f"configuration {error.subject} test failed")
    is_usage = all(
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
        import traceback  # noqa: PLC0415 (rarely needed, and slow to import)

        traceback.print_exception(error)
    text = " ".join(str(error).split())
    _complain(
        f"internal error: {type(error).__name__}: {text}; run with"
        " FASTGATE_TRACEBACK=1 for the traceback"
    )
    if isinstance(error, OSError):
        _discard(1)
    return EXIT_INTERNAL
