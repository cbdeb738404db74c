"""The commands that speak to a running gateway: what its steward answers.

Runs in: the command line.
"""

import http.client
import json
import socket
import sys
import time
from typing import Any

from fastgate.config.address import parse_address
from fastgate.control.logs import reason
from fastgate.errors import printable

_TIMEOUT_S = 5.0
# Of what was asked for, beside 1: nobody answered.
_REFUSED = 2
# While a drain is waited for.
_LOOK_EVERY_S = 0.1


class _AdminConnection(http.client.HTTPConnection):
    """HTTP over the admin's Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)
        self.sock.settimeout(self._timeout_s)


class NoAnswerError(Exception):
    """Nobody answers on the admin socket, or not in a way that makes sense."""


def status_command(socket_path: str, as_json: bool) -> int:
    """Print the status of the gateway behind an admin socket.

    returns  0; 1 when no gateway answers, with one line on stderr
    """
    try:
        status = fetch_status(socket_path)
    except NoAnswerError as error:
        return _no_answer(socket_path, error)
    print(json.dumps(status, indent=2) if as_json else render(status))
    return 0


def reload_command(socket_path: str) -> int:
    """Have the gateway behind an admin socket reload, and print what it says.

    It is waited for as long as it takes: an earlier generation may have to leave first.

    returns  0; 1 when the gateway refuses, with every reason on stderr, or none answers
    """
    code = _command(socket_path, "/reload", None)
    if code == _REFUSED:
        print("fastgate: reload refused: the old one serves on", file=sys.stderr)
    return 1 if code else 0


def endpoints_command(
    socket_path: str, order: dict[str, Any], wait_ms: int | None = None
) -> int:
    """Have the gateway do something with endpoints, and print what it says.

    order    as control/operator.py reads it
    wait_ms  for so long at most it is waited until nothing is in flight there
    returns  0; 1 when the gateway refuses, when none answers, or when time is up
    """
    if _command(socket_path, "/endpoints", order):
        return 1
    if wait_ms is None:
        return 0
    until_s = time.monotonic() + wait_ms / 1000
    while True:
        try:
            left = _in_flight(fetch_status(socket_path), order)
        except NoAnswerError as error:
            return _no_answer(socket_path, error)
        if not left:
            return 0
        if time.monotonic() >= until_s:
            waited = f"after {wait_ms / 1000:g} s"
            print(f"fastgate: {left} still in flight {waited}", file=sys.stderr)
            return 1
        time.sleep(_LOOK_EVERY_S)


def _in_flight(status: dict[str, Any], order: dict[str, Any]) -> int:
    """Count what is in flight at the endpoints of an order, which was obeyed."""
    named = {str(parse_address(one, listening=False)) for one in order["addresses"]}
    endpoints = status["upstreams"].get(order["upstream"], {}).get("endpoints", ())
    return sum(e["in_flight"] for e in endpoints if e["address"] in named)


def _command(socket_path: str, path: str, body: dict[str, Any] | None) -> int:
    """Ask for something to be done, and print the lines of the answer.

    returns  0; _REFUSED; or 1 when no gateway answers
    """
    try:
        answer = _ask(socket_path, "POST", path, timeout_s=None, body=body)
        lines = [printable(str(line)) for line in answer["lines"]]
        is_good = answer["ok"] is True
    except NoAnswerError as error:
        return _no_answer(socket_path, error)
    except (KeyError, TypeError):
        return _no_answer(socket_path, NoAnswerError("not the answer of a gateway"))
    for line in lines:
        print(f"fastgate: {line}", file=sys.stdout if is_good else sys.stderr)
    return 0 if is_good else _REFUSED


def _no_answer(socket_path: str, error: NoAnswerError) -> int:
    print(f"fastgate: no gateway answers on {socket_path}: {error}", file=sys.stderr)
    return 1


def fetch_status(socket_path: str) -> dict[str, Any]:
    """Ask for /status. Raises NoAnswerError."""
    return _ask(socket_path, "GET", "/status", timeout_s=_TIMEOUT_S)


def _ask(
    socket_path: str,
    method: str,
    path: str,
    *,
    timeout_s: float | None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask the steward; a refusal (409) is an answer. Raises NoAnswerError."""
    connection = _AdminConnection(socket_path, timeout_s)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data)
        response = connection.getresponse()
        text = response.read()
        if response.status not in (http.client.OK, http.client.CONFLICT):
            raise NoAnswerError(f"it said {response.status} {response.reason}")
        answer = json.loads(text)
    except TimeoutError:
        raise NoAnswerError(f"silent for {_TIMEOUT_S:g} s") from None
    except (FileNotFoundError, ConnectionRefusedError) as error:
        why = f"{reason(error)} (does it run, with this admin_socket?)"
        raise NoAnswerError(why) from None
    except OSError as error:
        raise NoAnswerError(reason(error)) from None
    except (http.client.HTTPException, ValueError):
        raise NoAnswerError("not the answer of a gateway") from None
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise NoAnswerError("not the answer of a gateway")
    return answer


def render(status: dict[str, Any]) -> str:
    """Lay a status out in tables, one per subject."""
    workers = [
        [
            str(worker["slot"]),
            str(worker["pid"]),
            str(worker["generation"]),
            worker["state"],
            str(worker.get("connections", "")),
            str(worker.get("exchanges", "")),
            str(worker.get("requests", "")),
        ]
        for worker in status["workers"]
    ]
    endpoints = [
        [
            name,
            endpoint["address"],
            endpoint["state"],
            str(endpoint["weight"]),
            str(endpoint["in_flight"]),
            str(endpoint["total"]),
            str(endpoint["failures"]),
            str(endpoint["connects"]),
            f"{endpoint['latency_ms']:.2f}",
            *_check(endpoint["check"]),
        ]
        for name, upstream in status["upstreams"].items()
        for endpoint in upstream["endpoints"]
    ]
    listeners = [
        [listener["name"], f"{listener['scheme']}://{listener['address']}"]
        for listener in status["listeners"]
    ]
    return "\n".join(
        [
            f"fastgate {status['version']}, up {_span(status['uptime_s'])}",
            "",
            *_table(
                "WORKER PID GENERATION STATE CONNECTIONS EXCHANGES REQUESTS", workers
            ),
            "",
            *_table(
                "UPSTREAM ENDPOINT STATE WEIGHT IN-FLIGHT TOTAL FAILURES CONNECTS"
                " LATENCY-MS CHECKS FAILED LAST-CHECK",
                endpoints,
            ),
            "",
            *_table("LISTENER ADDRESS", listeners),
        ]
    )


def _check(check: dict[str, Any] | None) -> list[str]:
    """Give the cells about an endpoint's active checks."""
    if check is None:
        return ["-", "-", "-"]
    return [str(check["checks"]), str(check["failed"]), check["last"] or "-"]


def _table(heads: str, rows: list[list[str]]) -> list[str]:
    """Align columns: numbers to the right, all else to the left."""
    lines = [heads.split(), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if _is_number(cell) else cell.ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()


def _span(seconds: float) -> str:
    """Write an uptime as `3d 4h 5m 6s`, without leading zeros."""
    left = int(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if left >= size or unit == "s" or parts:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts)
