"""The flags of every command, made from the table of knobs.

Runs in: master (only to read the command line).
"""

import argparse
import os
import re
from collections.abc import Sequence
from typing import NoReturn

from fastgate.config.knob import Kind, Knob
from fastgate.config.knobs import GROUPS, KNOBS
from fastgate.config.quick import QUICK
from fastgate.config.units import nearest, show
from fastgate.errors import UsageError

# Flags beside those of settings, as the help and the manual page name them.
COMMAND_FLAGS = {
    "-c, --config FILE": "configuration file, TOML [env: FASTGATE_CONFIG;"
    " default: none]",
    "--print-config": "print the whole configuration as a file, with where each value"
    " came from, and leave",
    "-q, --quiet": "print nothing when it is good (check)",
    "--json": "print JSON, not a table (status)",
}


class Parser(argparse.ArgumentParser):
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
            hint = ""
            if "--config" in self.flags():
                hint = "; a configuration file is given with -c FILE"
            self.error(f"unexpected argument {show(first)}{hint}")
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


def bare_parser(command: str, summary: str) -> Parser:
    """Make the parser of a command, with no flag but --help."""
    return Parser(
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


def add_config_flag(parser: Parser) -> None:
    """Add -c FILE."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=os.environ.get("FASTGATE_CONFIG") or None,
        help=COMMAND_FLAGS["-c, --config FILE"],
    )


def add_settings(parser: Parser) -> None:
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


def settings_parser(command: str, summary: str) -> Parser:
    """Make the parser of a command that takes a configuration."""
    parser = bare_parser(command, summary)
    add_config_flag(parser)
    parser.add_argument(
        "--print-config",
        action="store_true",
        help=COMMAND_FLAGS["--print-config"],
    )
    add_settings(parser)
    return parser


def settings_given(found: argparse.Namespace) -> dict[str, str | list[str]]:
    """Give the settings that stood on the command line, by key."""
    given = vars(found)
    return {key: given[key] for key in (*QUICK, *KNOBS) if key in given}


def refuse_flag_first(argument: str) -> NoReturn:
    """Raise UsageError for a flag where a command should stand."""
    flag = argument.partition("=")[0]
    of_program = ["--help", "--version"]
    of_run = ["--config", "-c"]
    of_run += [knob.flag for knob in KNOBS.values()]
    of_run += [quick.flag for quick in QUICK.values()]
    meant = flag if flag in of_run else nearest(flag, of_run + of_program)
    if meant in of_run:
        meant = f"fastgate run {meant}"
    hint = f"; did you mean '{meant}'?" if meant else ""
    raise UsageError(f"{show(flag)} before a command{hint}\nsee 'fastgate --help'")
