"""Addresses as the configuration writes them, turned into sockets."""

from __future__ import annotations

import os
import socket
import tempfile


def split(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """`127.0.0.1:80`, `[::1]:80` or `unix:/path` as (family, socket address)."""
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, (host.strip("[]"), int(port))
    return socket.AF_INET, (host, int(port))


def connect(
    address: str,
    *,
    timeout_s: float = 5.0,
    source: str | None = None,
    receive_buffer_bytes: int = 0,
) -> socket.socket:
    """A connected stream socket; every small write leaves at once.

    source                the address to come from, say 127.0.0.9
    receive_buffer_bytes  a small one makes a reader slow sooner
    """
    family, where = split(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        if receive_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        if source:
            sock.bind((source, 0))
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def listen(family: str = "ipv4", *, backlog: int = 128) -> tuple[socket.socket, str]:
    """A listening socket on a port of the kernel's choice, and its address."""
    if family == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = os.path.join(tempfile.mkdtemp(prefix="fg-"), "origin.sock")
        sock.bind(path)
        sock.listen(backlog)
        return sock, f"unix:{path}"
    if family == "ipv6":
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.bind(("::1", 0))
        sock.listen(backlog)
        return sock, f"[::1]:{sock.getsockname()[1]}"
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen(backlog)
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


def unused() -> str:
    """An IPv4 address on which nobody listens."""
    sock, address = listen()
    sock.close()
    return address


def reset(sock: socket.socket) -> None:
    """Close with RST in place of FIN."""
    sock.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
    )
    sock.close()
