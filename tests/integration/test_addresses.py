"""IPv4, IPv6 and Unix sockets, on both sides."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from support.client import fetch, request
from support.gateway import Gateway
from support.origin import pattern
from support.rig import Rig

FAMILIES = ["ipv4", "ipv6", "unix"]


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    """Listens on one address of each family, serves one upstream of each."""
    origins = {family: module_rig.origin(family=family) for family in FAMILIES}
    return module_rig.gateway(
        listeners={
            "ipv4": {"address": "127.0.0.1:0"},
            "ipv6": {"address": "[::1]:0"},
            "unix": {"address": f"unix:{module_rig.directory}/gateway.sock"},
        },
        upstreams={
            family: {"endpoints": [origin.address]}
            for family, origin in origins.items()
        },
        routes=[
            {"name": family, "match": {"host": family}, "upstream": family}
            for family in FAMILIES
        ],
        workers=2,
    )


@pytest.mark.parametrize("upstream", FAMILIES)
@pytest.mark.parametrize("downstream", FAMILIES)
def test_any_kind_of_address_reaches_any_other(
    gateway: Gateway, quiet: Rig, downstream: str, upstream: str
) -> None:
    (address,) = gateway.listeners[downstream]
    for size in (0, 1, 100_000):
        answer = fetch(address, "GET", f"/size/{size}", host=upstream)
        assert answer.body == pattern(size)

    origin = quiet.origins[FAMILIES.index(upstream)]
    assert list(gateway.endpoints(upstream)) == [origin.address]


def test_one_listener_may_have_several_addresses(rig: Rig) -> None:
    path = f"{rig.directory}/gateway.sock"
    gateway = rig.gateway(
        rig.origin(), listen=["127.0.0.1:0", "[::1]:0", f"unix:{path}"]
    )
    reached = gateway.listeners["main"]

    assert len(reached) == 3
    for address in reached:
        assert fetch(address, "GET", "/size/1").status == 200


def test_there_may_be_several_listeners(rig: Rig) -> None:
    gateway = rig.gateway(
        rig.origin(),
        listeners={
            "one": {"address": "127.0.0.1:0"},
            "two": {"addresses": ["127.0.0.1:0", "[::1]:0"]},
        },
    )

    assert {name: len(found) for name, found in gateway.listeners.items()} == {
        "one": 1,
        "two": 2,
    }
    for found in gateway.listeners.values():
        for address in found:
            assert fetch(address, "GET", "/size/1").status == 200


def test_a_name_is_resolved_at_start(rig: Rig) -> None:
    origin = rig.origin()
    port = origin.address.rpartition(":")[2]

    assert rig.gateway(f"localhost:{port}").fetch("GET", "/size/1").status == 200


def link_local() -> tuple[str, str] | None:
    """A link-local address of this machine and its interface, if it has any."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, _, _, scope, _, interface = line.split()
            if scope == "20":
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)), (
                    interface
                )
    return None


@pytest.mark.skipif(not link_local(), reason="no link-local address")
def test_an_endpoint_is_reached_through_the_interface_of_its_zone(rig: Rig) -> None:
    host, interface = link_local() or ("", "")
    with socket.socket(socket.AF_INET6) as service:
        service.bind((host, 0, 0, socket.if_nametoindex(interface)))
        service.listen()
        service.settimeout(5)
        port = service.getsockname()[1]
        gateway = rig.gateway(f"[{host}%{interface}]:{port}")
        client = rig.client(gateway)
        client.send(request("GET", "/"))
        served, _ = service.accept()
        with served:
            served.recv(4096)
            served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

            assert client.read_response().body == b"ok"


def test_a_unix_socket_left_behind_is_replaced_and_removed_at_the_end(
    rig: Rig,
) -> None:
    path = f"{rig.directory}/gateway.sock"
    gateway = rig.gateway(rig.origin(), listen=f"unix:{path}")
    gateway.destroy()
    rig.gateways.remove(gateway)
    assert os.path.exists(path)
    gateway = rig.gateway(rig.origin(), listen=f"unix:{path}")
    assert gateway.fetch("GET", "/size/1").status == 200
    assert gateway.stop() == 0

    assert not os.path.exists(path)


def test_a_client_on_a_unix_socket_is_a_stranger_too(
    gateway: Gateway, quiet: Rig
) -> None:
    (address,) = gateway.listeners["unix"]
    spoofed = {"X-Forwarded-For": "203.0.113.66"}
    answer = fetch(address, "GET", "/any", spoofed, host="ipv4")

    assert b"203.0.113.66" not in answer.body
    assert json.loads(answer.body)["target"] == "/any"
