"""The client side of `fastgate status` without a gateway."""

import socket
import threading

import pytest

from fastgate.control import admin


def test_no_gateway_is_one_line_and_exit_code_1(tmp_path, capsys):
    path = str(tmp_path / "none")

    assert admin.status_command(path, as_json=False) == 1
    assert capsys.readouterr() == (
        "",
        f"fastgate: no gateway answers on {path}: no such file or directory (does it"
        " run, with this admin_socket?)\n",
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]",
    ],
)
def test_a_stranger_on_the_socket_is_one_line_too(tmp_path, capsys, answer):
    path = str(tmp_path / "stranger")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        code = admin.status_command(path, as_json=True)
        server.join()

    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith(f"fastgate: no gateway answers on {path}: ")
    assert err.count("\n") == 1
    assert "[Errno" not in err


def test_numbers_stand_to_the_right_and_names_to_the_left():
    table = admin._table("NAME COUNT", [["a", "5"], ["long", "1234567"]])

    assert table == ["NAME  COUNT", "a           5", "long  1234567"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (61, "1m 1s"), (3600, "1h 0m 0s"), (90061, "1d 1h 1m 1s")],
)
def test_an_uptime_is_written_without_leading_zeros(seconds, text):
    assert admin._span(seconds) == text
