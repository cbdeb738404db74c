"""A machine that has no port left for an endpoint."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.gateway import environment

# In a network of its own, where there are two ports to connect from, both in use.
SCRIPT = """
import fcntl, json, socket, struct, sys
sys.path.insert(0, sys.argv[1])
from support.lab import Lab, request

with socket.socket() as any_socket:     # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))
lab = Lab(upstream={"eject": "1/10s"}, retries=0)
client = lab.client()
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:
    ports.write("61000 61001")
held = [socket.create_connection(lab.services[0].getsockname()) for _ in range(2)]
client.sendall(request())
lab.settle()
answer = client.recv(4096).decode()
print(json.dumps({"answer": answer, **lab.endpoint()}))
"""


def test_ports_that_have_run_out_are_not_held_against_the_endpoint() -> None:
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run([unshare, "-n", "true"], check=False).returncode
    ):
        pytest.skip("no network of our own to run out of ports in")
    tests = str(Path(__file__).resolve().parents[1])
    found = json.loads(
        subprocess.run(
            [unshare, "-n", sys.executable, "-c", SCRIPT, tests],
            env=environment(),
            capture_output=True,
            timeout=30,
            check=True,
        ).stdout
    )

    assert found["answer"].startswith("HTTP/1.1 503")
    assert found["failures"] == 0
    assert found["skipped_ms"] == 0
