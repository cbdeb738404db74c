import http.client
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastgate.config.model import Config
from fastgate.control import demo


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FASTGATE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, str]]:
    with demo.upstreams() as addresses:
        yield addresses


@pytest.fixture
def connection(running: dict[str, str]) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(running["alpha"], timeout=10)
    yield connection
    connection.close()


def exchange(address: str, request: bytes) -> bytes:
    """Send bytes and give all that comes until the peer closes."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_each_upstream_names_itself(running: dict[str, str]) -> None:
    for name, address in running.items():
        answer = exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

        assert f"hello from {name}".encode() in answer
        assert f"X-Demo-Upstream: {name}\r\n".encode() in answer


def test_an_upstream_echoes_method_path_and_headers(
    connection: http.client.HTTPConnection,
) -> None:
    connection.request("DELETE", "/a/b?q=1", headers={"X-Forwarded-For": "10.1.2.3"})

    text = connection.getresponse().read().decode()
    assert "DELETE /a/b?q=1\n" in text
    assert "X-Forwarded-For: 10.1.2.3\n" in text


def test_a_connection_is_kept_over_bodies_of_every_framing(
    connection: http.client.HTTPConnection,
) -> None:
    connection.connect()
    first = connection.sock

    connection.request("POST", "/", body=b"x" * 100_000)
    counted = connection.getresponse().read()
    connection.request("POST", "/", body=iter([b"abc", b"de"]), encode_chunked=True)
    chunked = connection.getresponse().read()
    connection.request("HEAD", "/")
    head = connection.getresponse()
    head_length, nothing = head.headers["Content-Length"], head.read()
    connection.request("GET", "/")
    connection.getresponse().read()

    assert connection.sock is first
    assert b"(100000 bytes of body)" in counted
    assert b"(5 bytes of body)" in chunked
    assert int(head_length) > 0
    assert nothing == b""


def test_an_upstream_says_continue_before_it_reads_a_body(
    running: dict[str, str],
) -> None:
    answer = exchange(
        running["beta"],
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
    )

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("request_head", "connection_header"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"Connection: close"),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"Connection: keep-alive",
        ),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"Connection: close"),
        (b"GET / HTTP/1.1\r\n\r\n", b"Connection: keep-alive"),
    ],
)
def test_an_upstream_closes_when_it_is_asked_to(
    running: dict[str, str], request_head: bytes, connection_header: bytes
) -> None:
    assert connection_header in exchange(running["alpha"], request_head)


@pytest.mark.parametrize(
    "request_head",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_upstream_refuses_what_it_cannot_read(
    running: dict[str, str], request_head: bytes
) -> None:
    try:
        answer = exchange(running["alpha"], request_head)
    except OSError:
        answer = b""  # closed with unread bytes: the kernel resets

    assert b"200 OK" not in answer
    assert b"hello" in exchange(running["alpha"], b"GET / HTTP/1.1\r\n\r\n")


def test_the_upstreams_end_with_the_demo() -> None:
    with demo.upstreams(["gamma"]) as addresses:
        host, port = addresses["gamma"].split(":")
        socket.create_connection((host, int(port)), timeout=10).close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)


def test_an_upstream_ends_when_nobody_holds_its_standard_input() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        child = subprocess.Popen(
            [sys.executable, "-m", demo.__name__, "x", str(listening.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=(listening.fileno(),),
        )
    assert child.stdin is not None
    child.stdin.close()

    assert child.wait(timeout=20) == 0


def test_flags_and_variables_change_the_demo(tmp_path: Path) -> None:
    addresses = {"alpha": "127.0.0.1:1", "beta": "127.0.0.1:2"}
    environ = {"FASTGATE_LISTEN": ":7", "FASTGATE_DRAIN": "9s"}

    plain = demo.configure({}, addresses, tmp_path, {}).config
    changed = demo.configure({"listen": [":8"]}, addresses, tmp_path, environ).config
    by_variable = demo.configure({}, addresses, tmp_path, environ).config

    assert plain.listeners["main"].addresses == ("127.0.0.1:8080",)
    assert [e.address for e in plain.upstreams["main"].endpoints] == [
        "127.0.0.1:1",
        "127.0.0.1:2",
    ]
    assert plain.gateway.admin_socket == str(tmp_path / "admin.sock")
    assert changed.listeners["main"].addresses == ("0.0.0.0:8",)
    assert changed.gateway.drain == 9_000
    assert by_variable.listeners["main"].addresses == ("0.0.0.0:7",)


@pytest.mark.parametrize(
    ("listen", "curl"),
    [
        ("127.0.0.1:80", "curl http://127.0.0.1:80/"),
        ("0.0.0.0:80", "curl http://127.0.0.1:80/"),
        ("[::]:80", "curl http://[::1]:80/"),
        ("unix:/run/a.sock", "curl --unix-socket /run/a.sock http://demo/"),
    ],
)
def test_the_greeting_says_what_to_curl(tmp_path: Path, listen: str, curl: str) -> None:
    addresses = {"alpha": "127.0.0.1:1"}
    text = demo.greeting(listen, addresses, f"{tmp_path}/admin.sock")

    assert f"  {curl}\n" in text
    assert f"fastgate status --admin-socket {tmp_path}/admin.sock" in text


def test_the_demo_hands_the_master_two_living_upstreams(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Path] = []

    def run(config: Config, when_bound: Callable[[list[object]], None]) -> int:
        assert capsys.readouterr().out == ""  # nothing is promised before it is bound
        when_bound([types.SimpleNamespace(address="127.0.0.1:4711")])
        for endpoint in config.upstreams["main"].endpoints:
            assert b"hello" in exchange(endpoint.address, b"GET / HTTP/1.1\r\n\r\n")
        assert config.gateway.admin_socket is not None
        seen.append(Path(config.gateway.admin_socket).parent)
        assert seen[0].is_dir()
        return 7

    master = types.ModuleType("fastgate.control.master")
    vars(master)["run"] = run
    monkeypatch.setitem(sys.modules, "fastgate.control.master", master)

    assert demo.run({"listen": ["127.0.0.1:0"]}) == 7
    assert not seen[0].exists()
    assert "fastgate demo: 127.0.0.1:4711 over alpha on" in capsys.readouterr().out
