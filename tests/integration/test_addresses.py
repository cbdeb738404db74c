"""IPv4, IPv6 and Unix sockets, on both sides."""

from __future__ import annotations

import json
import os

import pytest
from support.client import fetch
from support.origin import pattern
from support.rig import Rig

FAMILIES = ["ipv4", "ipv6", "unix"]


def listen_address(rig: Rig, family: str, directory: str) -> str:
    return {
        "ipv4": "127.0.0.1:0",
        "ipv6": "[::1]:0",
        "unix": f"unix:{directory}/gateway.sock",
    }[family]


@pytest.mark.parametrize("upstream", FAMILIES)
@pytest.mark.parametrize("downstream", FAMILIES)
def test_any_kind_of_address_reaches_any_other(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory, downstream: str, upstream: str
) -> None:
    directory = str(tmp_path_factory.mktemp("g"))
    origin = rig.origin(family=upstream)
    gateway = rig.gateway(
        origin, listen=listen_address(rig, downstream, directory), workers=2
    )
    for size in (0, 1, 100_000):
        assert gateway.fetch("GET", f"/size/{size}").body == pattern(size)

    assert list(gateway.endpoints()) == [origin.address]


def test_one_listener_may_have_several_addresses(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("g") / "gateway.sock"
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


def test_a_unix_socket_left_behind_is_replaced_and_removed_at_the_end(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("g") / "gateway.sock"
    for _ in range(2):
        gateway = rig.gateway(rig.origin(), listen=f"unix:{path}")
        assert gateway.fetch("GET", "/size/1").status == 200
        gateway.destroy()
        rig.gateways.remove(gateway)
        assert path.exists()
    gateway = rig.gateway(rig.origin(), listen=f"unix:{path}")
    assert gateway.fetch("GET", "/size/1").status == 200
    assert gateway.stop() == 0

    assert not os.path.exists(path)


def test_a_client_on_a_unix_socket_is_trusted_only_when_listed(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("g") / "gateway.sock"
    gateway = rig.gateway(rig.origin(), listen=f"unix:{path}")
    answer = gateway.fetch("GET", "/any", {"X-Forwarded-For": "203.0.113.66"})

    assert b"203.0.113.66" not in answer.body
    assert json.loads(answer.body)["target"] == "/any"
