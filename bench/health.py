"""What active checks cost: CPU of the steward, by the check.

Runs in: no process of the gateway.

    python bench/health.py [--endpoints 1000] [--interval 2s] [--seconds 20] [--tcp]
                           [--close] [--at-most PERCENT]

One backend answers on every address of 127/8, so each endpoint is an address of its
own. The CPU time is the steward's own (schedstat, in nanoseconds), between two moments
after all endpoints were checked; the number of checks is what it counted meanwhile. By
`--close` the backend closes after each answer, so that every check has to connect;
`--tcp` checks do so anyway. With `--at-most` the exit code is 1 if it took more.
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing  # house: allow multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"


class Answering(asyncio.Protocol):
    """Answers each request, which comes in one piece from whoever checks."""

    answer = b""
    closes = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(self.answer)
        if self.closes:
            self.transport.close()


def serve(listening: socket.socket, closes: bool) -> None:
    """Be the backend until killed."""
    Answering.closes = closes
    Answering.answer = ANSWER + b"Connection: close\r\n" * closes + b"\r\nok\n"

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answering, sock=listening, backlog=4096)
        await server.serve_forever()

    asyncio.run(run())


def configuration(arguments: argparse.Namespace, port: int, admin: str) -> str:
    addresses = [
        f"127.1.{number // 250}.{number % 250 + 1}:{port}"
        for number in range(arguments.endpoints)
    ]
    kind = "tcp = true" if arguments.tcp else 'path = "/healthz"'
    return f"""
[gateway]
workers = 1
admin_socket = {json.dumps(admin)}
[listeners.main]
address = "127.0.0.1:0"
[upstreams.main]
endpoints = {json.dumps(addresses)}
health = {{ {kind}, interval = {json.dumps(arguments.interval)} }}
[[routes]]
name = "main"
upstream = "main"
"""


class Admin(http.client.HTTPConnection):
    """HTTP over the admin's Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def counted(admin: str) -> tuple[int, int]:
    """Give how many checks there were so far, and of how many endpoints."""
    connection = Admin(admin)
    connection.request("GET", "/status")
    status = json.loads(connection.getresponse().read())
    connection.close()
    checks = [e["check"] for e in status["upstreams"]["main"]["endpoints"]]
    if failed := [check["last"] for check in checks if check["failed"]]:
        sys.exit(f"{len(failed)} endpoints failed a check: {failed[0]}")
    total = sum(check["checks"] for check in checks)
    return total, sum(check["checks"] > 0 for check in checks)


def steward_of(master: int) -> int:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(
                (directory / "stat").read_text().rpartition(") ")[2].split()[1]
            )
            name = (directory / "comm").read_text().strip()
        except OSError:
            continue
        if parent == master and name == "fastgate-s":
            return int(directory.name)
    sys.exit("there is no steward")


def cpu_ns(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def measure(admin: str, master: int, arguments: argparse.Namespace) -> float:
    """Print the figures; returns percent of one core."""
    deadline_s = time.monotonic() + 60
    while counted(admin)[1] < arguments.endpoints:
        if time.monotonic() > deadline_s:
            sys.exit("not every endpoint was checked within 60 s")
        time.sleep(0.2)
    steward = steward_of(master)
    began_s, checks, cpu = time.monotonic(), counted(admin)[0], cpu_ns(steward)
    time.sleep(arguments.seconds)
    cpu = cpu_ns(steward) - cpu  # before the question, which is not a check
    for_s, checks = time.monotonic() - began_s, counted(admin)[0] - checks
    percent = cpu / for_s / 1e7
    print(
        f"{arguments.endpoints} endpoints every {arguments.interval}: "
        f"{checks / for_s:.0f} checks/s, {cpu / checks / 1000:.0f} us each, "
        f"{percent:.1f} % of one core"
    )
    return percent


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU of active checks")
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--interval", default="2s")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--close", action="store_true")
    parser.add_argument("--at-most", type=float, metavar="PERCENT")
    arguments = parser.parse_args()
    listening = socket.create_server(("0.0.0.0", 0), backlog=4096)
    port = listening.getsockname()[1]
    backend = multiprocessing.get_context("fork").Process(
        target=serve, args=(listening, arguments.close), daemon=True
    )
    backend.start()
    listening.close()
    with tempfile.TemporaryDirectory() as directory:
        admin, path = f"{directory}/admin", f"{directory}/fastgate.toml"
        Path(path).write_text(configuration(arguments, port, admin))
        gateway = subprocess.Popen(
            [sys.executable, "-m", "fastgate", "run", "-c", path],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        try:
            for line in gateway.stderr:
                if "ready" in line:
                    break
            while not os.path.exists(admin):
                time.sleep(0.05)
            percent = measure(admin, gateway.pid, arguments)
        finally:
            gateway.terminate()
            gateway.wait()
            backend.kill()
    return int(arguments.at_most is not None and percent > arguments.at_most)


if __name__ == "__main__":
    sys.exit(main())
