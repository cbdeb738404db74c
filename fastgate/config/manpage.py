"""The manual page, from the tables that make the help: `man fastgate`.

Runs in: the command line, for whoever builds the package (setup.py). From a
checkout: `python -m fastgate.config.manpage | man -l -`.
"""

from collections.abc import Iterator

from fastgate.config.commands import COMMANDS, EXIT_CODES, QUICK_START
from fastgate.config.flags import COMMAND_FLAGS
from fastgate.config.knob import Kind, Knob
from fastgate.config.knobs import GROUPS, KNOBS
from fastgate.config.quick import QUICK

DESCRIPTION = """\
Reverse proxy, load balancer and API gateway in one program. A master process reads
the configuration, binds the addresses and forks one worker per CPU; it reads nothing
from the network. Every setting is a key of the file, a flag and a variable: a flag
goes before a variable, a variable before the file, the file before the default."""

VALUES = """\
Durations are written 250ms, 30s, 5m, 1h (a bare number is seconds), sizes 8k, 16m, 1g
(powers of 1024; a bare number is bytes), rates 240B/s, percentages 20%."""

FILE = """\
[listeners.web]
address = "0.0.0.0:8080"

[upstreams.users]
balance = "least-connections"
endpoints = ["10.0.0.1:9000", "10.0.0.2:9000"]

[[routes]]
name = "users"
match = { path_prefix = "/v2/users" }
upstream = "users"
"""

SIGNALS = {
    "TERM, QUIT": "stop: no new connections, requests in flight finish within"
    " --drain; a second one stops at once",
    "INT": "stop at once",
    "USR1": "reopen the logs",
}

ENVIRONMENT = {
    "FASTGATE_CONFIG": "the configuration file, where -c does not name it",
    "FASTGATE_TRACEBACK": "1 shows the traceback of an internal error",
    "NOTIFY_SOCKET": "where READY=1 and STOPPING=1 are told (systemd)",
}


def escape(text: str) -> str:
    """Write a text so that roff takes no byte of it for a command."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def page() -> str:
    """Give the text of `fastgate.1`, in the man macros."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '.\\" Made by fastgate.config.manpage.'
    yield ".TH FASTGATE 1"
    yield ".SH NAME"
    yield "fastgate \\- reverse proxy, load balancer, API gateway"
    yield ".SH SYNOPSIS"
    for command in COMMANDS:
        yield f".B fastgate {command}"
        yield ".RI [ flags ]"
        yield ".br"
    yield ".SH DESCRIPTION"
    yield escape(DESCRIPTION)
    yield ".SH COMMANDS"
    for command, summary in COMMANDS.items():
        yield from _entry(f"\\fB{command}\\fR", summary)
    yield ".SH QUICK START"
    yield from _example(QUICK_START)
    yield ".SH FLAGS"
    for flag, text in COMMAND_FLAGS.items():
        yield from _entry(f"\\fB{escape(flag)}\\fR", text)
    for quick in QUICK.values():
        head = f"\\fB{escape(quick.flag)}\\fR \\fI{escape(quick.metavar)}\\fR"
        yield from _entry(head, f"{quick.help} [{quick.variable}]")
    yield ".SH SETTINGS"
    yield escape(VALUES)
    for group in GROUPS:
        yield f".SS {group[0].upper()}{group[1:]}"
        for knob in KNOBS.values():
            if knob.group == group:
                yield from _knob(knob)
    yield ".SH FILE"
    yield escape("TOML; docs/configuration.md names every key.")
    yield from _example(FILE)
    yield ".SH SIGNALS"
    for signal, text in SIGNALS.items():
        yield from _entry(f"\\fB{signal}\\fR", text)
    yield ".SH EXIT STATUS"
    for code, text in EXIT_CODES.items():
        yield from _entry(f"\\fB{code}\\fR", text)
    yield ".SH ENVIRONMENT"
    for name, text in ENVIRONMENT.items():
        yield from _entry(f"\\fB{name}\\fR", text)


def _entry(head: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield head
    yield escape(text)


def _example(text: str) -> Iterator[str]:
    yield ".PP"
    yield ".nf"
    yield from (escape(line) for line in text.rstrip().split("\n"))
    yield ".fi"


def _knob(knob: Knob) -> Iterator[str]:
    flags = ", ".join(f"\\fB{escape(flag)}\\fR" for flag in (knob.flag, *knob.aliases))
    metavar = f"[{knob.metavar}]" if knob.kind is Kind.SWITCH else knob.metavar
    notes = [knob.variable, f"default: {knob.default_text}"]
    if knob.range_text:
        notes.append(knob.range_text)
    scopes = "".join(f" Also in {scope}s." for scope in knob.scopes)
    head = f"{flags} \\fI{escape(metavar)}\\fR"
    yield from _entry(head, f"{knob.help}.{scopes} [{'; '.join(notes)}]")


if __name__ == "__main__":
    print(page(), end="")
