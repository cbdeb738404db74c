"""`fastgate status` and `fastgate reload`: what the steward answers.

Runs in: the command line.
"""

import http.client
import json
import socket
import sys
from typing import Any

from fastgate.control.logs import reason
from fastgate.errors import printable

_TIMEOUT_S = 5.0


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
    try:
        answer = _ask(socket_path, "POST", "/reload", timeout_s=None)
        lines = [printable(str(line)) for line in answer["lines"]]
        is_good = answer["ok"] is True
    except NoAnswerError as error:
        return _no_answer(socket_path, error)
    except (KeyError, TypeError):
        return _no_answer(socket_path, NoAnswerError("not the answer of a gateway"))
    for line in lines:
        print(f"fastgate: {line}", file=sys.stdout if is_good else sys.stderr)
    if not is_good:
        print("fastgate: reload refused: the old one serves on", file=sys.stderr)
    return 0 if is_good else 1


def _no_answer(socket_path: str, error: NoAnswerError) -> int:
    print(f"fastgate: no gateway answers on {socket_path}: {error}", file=sys.stderr)
    return 1


def fetch_status(socket_path: str) -> dict[str, Any]:
    """Ask for /status. Raises NoAnswerError."""
    return _ask(socket_path, "GET", "/status", timeout_s=_TIMEOUT_S)


def _ask(
    socket_path: str, method: str, path: str, *, timeout_s: float | None
) -> dict[str, Any]:
    """Ask the steward; a refusal (409) is an answer. Raises NoAnswerError."""
    connection = _AdminConnection(socket_path, timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        if response.status not in (http.client.OK, http.client.CONFLICT):
            raise NoAnswerError(f"it said {response.status} {response.reason}")
        answer = json.loads(body)
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
