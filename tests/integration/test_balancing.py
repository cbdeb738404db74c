"""Each balancing policy, seen from the endpoints."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import pytest
from support import addresses
from support.client import request
from support.gateway import Gateway
from support.origin import Origin, always, hold, response
from support.rig import Rig
from support.waiting import eventually

from fastgate.config.knobs.upstream import BALANCES


def three(rig: Rig) -> list[Origin]:
    return [rig.origin(name=name) for name in "abc"]


def picks(gateway: Gateway, count: int, *, path: str = "/size/1") -> str:
    """The names of the endpoints that served `count` requests on one connection."""
    with gateway.client() as client:
        answers = [client.ask("GET", path) for _ in range(count)]
    return "".join((one.value("x-origin") or b"?").decode() for one in answers)


def longest_run(names: str) -> int:
    return max(len(list(group)) for _, group in itertools.groupby(names))


def test_round_robin_honours_weights_and_mixes_them(rig: Rig) -> None:
    a, b, c = three(rig)
    weighted = {"address": a.address, "weight": 5}
    names = picks(rig.gateway(weighted, b, c), 70)

    assert Counter(names) == {"a": 50, "b": 10, "c": 10}
    assert longest_run(names) <= 3


def test_round_robin_is_fair_over_two_workers(rig: Rig) -> None:
    origins = three(rig)
    gateway = rig.gateway(*origins, workers=2)
    for _ in range(60):
        gateway.fetch("GET", "/size/1")

    assert all(15 <= len(origin.requests) <= 25 for origin in origins)


def test_least_connections_is_exact_over_two_workers(rig: Rig) -> None:
    gate = threading.Event()
    origins = [
        rig.origin(hold(gate, response(200, b"ok")), name=name) for name in "abc"
    ]
    gateway = rig.gateway(
        *origins, workers=2, upstream={"balance": "least-connections"}
    )
    clients = []
    for n in range(1, 31):
        clients.append(rig.client(gateway))
        clients[-1].send(request("GET", "/"))
        eventually(lambda n=n: sum(len(o.requests) for o in origins) == n, within_s=5)
        counts = [len(origin.requests) for origin in origins]
        assert max(counts) - min(counts) <= 1, counts

    assert sorted(gateway.in_flight().values()) == [10, 10, 10]
    gate.set()
    assert all(client.read_response().status == 200 for client in clients)


def test_least_connections_leaves_a_slow_endpoint_alone(rig: Rig) -> None:
    gate = threading.Event()
    slow = rig.origin(hold(gate, response(200, b"ok")), name="slow")
    quick = [rig.origin(always(response(200, b"ok")), name=name) for name in "bc"]
    gateway = rig.gateway(
        slow, *quick, workers=2, upstream={"balance": "least-connections"}
    )
    waiting = []
    served = 0
    for _ in range(60):
        client = rig.client(gateway)
        client.send(request("GET", "/"))
        eventually(
            lambda client=client: client.has_answer() or len(slow.requests) > 0,
            within_s=5,
        )
        if client.has_answer(0.2):
            served += client.read_response().status == 200
        else:
            waiting.append(client)

    assert (len(waiting), served, len(slow.requests)) == (1, 59, 1)
    gate.set()
    assert waiting[0].read_response().status == 200


def test_least_connections_honours_weights(rig: Rig) -> None:
    gate = threading.Event()
    heavy, light = (rig.origin(hold(gate, response(200, b"ok"))) for _ in range(2))
    gateway = rig.gateway(
        {"address": heavy.address, "weight": 2},
        light,
        upstream={"balance": "least-connections"},
    )
    clients = []
    for n in range(1, 31):
        clients.append(rig.client(gateway))
        clients[-1].send(request("GET", "/"))
        eventually(lambda n=n: len(heavy.requests) + len(light.requests) == n)

    assert (len(heavy.requests), len(light.requests)) == (20, 10)
    gate.set()
    assert all(client.read_response().status == 200 for client in clients)


def test_random_two_spreads_and_avoids_the_busier_one(rig: Rig) -> None:
    gate = threading.Event()
    busy = rig.origin(name="a")
    others = [rig.origin(name=name) for name in "bc"]
    gateway = rig.gateway(busy, *others, upstream={"balance": "random-two"})
    names = picks(gateway, 300)
    assert all(60 <= names.count(name) <= 140 for name in "abc")

    busy.forget(hold(gate, response(200, b"ok", {"X-Origin": "a"})))
    stuck = rig.client(gateway)
    while not busy.requests:
        stuck.send(request("GET", "/size/1"))
        eventually(lambda: stuck.has_answer() or busy.requests, within_s=5)
        if not busy.requests:
            stuck.read_response()
    # Whichever two are drawn, the one with a request in flight is not the better.
    assert "a" not in picks(gateway, 100)
    gate.set()
    assert stuck.read_response().status == 200


def test_ip_hash_keeps_a_client_at_its_endpoint(rig: Rig) -> None:
    origins = three(rig)
    gateway = rig.gateway(*origins, workers=2, upstream={"balance": "ip-hash"})
    chosen = {}
    for n in range(2, 42):
        source = f"127.0.0.{n}"
        names = {
            gateway.fetch("GET", "/size/1", source=source).value("x-origin")
            for _ in range(4)
        }
        assert len(names) == 1, source
        chosen[source] = names.pop()

    assert set(chosen.values()) == {b"a", b"b", b"c"}


def test_ip_hash_places_by_the_client_of_a_trusted_unix_peer(rig: Rig) -> None:
    gateway = rig.gateway(
        *three(rig),
        listen=f"unix:{rig.directory}/front.sock",
        upstream={"balance": "ip-hash"},
        trusted_proxies=["unix"],
    )
    chosen = {}
    for n in range(40):
        told = {"X-Forwarded-For": f"203.0.113.{n}"}
        names = {
            gateway.fetch("GET", "/size/1", told).value("x-origin") for _ in range(2)
        }
        assert len(names) == 1, told
        chosen[n] = names.pop()

    assert set(chosen.values()) == {b"a", b"b", b"c"}


HASH_KEYS = {
    "header": "header:X-User",
    "cookie": "cookie:user",
    "path": "path",
    "query": "query:user",
    "client": "client",
}


@pytest.fixture(scope="module")
def every_hash_key(module_rig: Rig) -> Gateway:
    """For each kind of key a host of its name."""
    chosen = [one.address for one in three(module_rig)]
    upstreams = {
        name: {"balance": "hash", "hash_key": key, "endpoints": chosen}
        for name, key in HASH_KEYS.items()
    }
    routes = [
        {"name": name, "match": {"host": name}, "upstream": name} for name in upstreams
    ]
    return module_rig.gateway(upstreams=upstreams, routes=routes, workers=2)


@pytest.mark.parametrize("name", HASH_KEYS)
def test_hash_keeps_a_key_at_its_endpoint_in_every_worker(
    every_hash_key: Gateway, quiet: Rig, name: str
) -> None:
    def ask(value: int) -> bytes | None:
        """A request of which all but the key under test varies each time."""
        varied = next(salt)
        seed = dict.fromkeys(HASH_KEYS, varied) | {name: value}
        headers = {
            "X-User": f"u{seed['header']}",
            "Cookie": f"a=b; user=u{seed['cookie']}; c=d",
        }
        return every_hash_key.fetch(
            "GET",
            f"/any/{seed['path']}?xuser=1&user=q{seed['query']}&a={varied}",
            headers,
            host=name,
            source=f"127.0.{1 + seed['client'] // 200}.{1 + seed['client'] % 200}",
        ).value("x-origin")

    salt = itertools.count(1000)

    first = [ask(value) for value in range(1, 41)]
    again = [ask(value) for value in range(1, 41)]

    assert first == again
    assert set(first) == {b"a", b"b", b"c"}


def test_removing_one_of_ten_endpoints_moves_few_keys(rig: Rig) -> None:
    origins = [rig.origin(name=f"o{n}") for n in range(10)]
    upstream = {"balance": "hash", "hash_key": "path"}
    ten = rig.gateway(*origins, upstream=upstream)
    nine = rig.gateway(*origins[:9], upstream=upstream)

    def map_keys(gateway: Gateway) -> list[bytes | None]:
        with gateway.client() as client:
            paths = (f"/any/{n}" for n in range(1000))
            return [client.ask("GET", path).value("x-origin") for path in paths]

    before, after = map_keys(ten), map_keys(nine)
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    needless = sum(
        old not in (new, b"o9") for old, new in zip(before, after, strict=True)
    )

    assert moved <= 140
    assert needless == 0


def test_hash_with_bounded_load_overflows_a_busy_endpoint(rig: Rig) -> None:
    gate = threading.Event()
    origins = [
        rig.origin(hold(gate, response(200, b"ok")), name=name) for name in "abc"
    ]
    upstream = {"balance": "hash", "hash_key": "path", "hash_bound": 125}
    gateway = rig.gateway(*origins, upstream=upstream)
    clients = []
    for n in range(1, 31):
        clients.append(rig.client(gateway))
        clients[-1].send(request("GET", "/one-and-the-same"))
        eventually(lambda n=n: sum(len(o.requests) for o in origins) == n)

    # 30 in flight over 3 endpoints, at most a quarter above the mean.
    assert max(len(origin.requests) for origin in origins) <= 13
    gate.set()
    assert all(client.read_response().status == 200 for client in clients)


def test_least_time_prefers_the_quicker_endpoint(rig: Rig) -> None:
    quick, slow = rig.origin(name="q"), rig.origin(name="s")

    def after_a_while(connection) -> None:
        while connection.read_request():
            connection.stall(0.05)
            connection.send(response(200, b"ok", {"X-Origin": "s"}))

    slow.script = after_a_while
    gateway = rig.gateway(quick, slow, upstream={"balance": "least-time"})

    assert picks(gateway, 60).count("q") >= 50


@pytest.fixture(scope="module")
def every_policy(module_rig: Rig) -> Gateway:
    """For each policy a host of its name, over two endpoints and a dead one;
    behind `only.` and its name, over one endpoint."""
    a, b = module_rig.origin(name="a"), module_rig.origin(name="b")
    endpoints = {
        "": [a.address, addresses.unused(), b.address],
        "only.": [a.address],
    }
    upstreams = {
        f"{prefix}{policy}": {"balance": policy, "endpoints": chosen}
        for policy in BALANCES
        for prefix, chosen in endpoints.items()
    }
    routes = [
        {"name": name, "match": {"host": name}, "upstream": name} for name in upstreams
    ]
    return module_rig.gateway(upstreams=upstreams, routes=routes)


@pytest.mark.parametrize("policy", BALANCES)
def test_every_policy_goes_round_an_endpoint_that_is_down(
    every_policy: Gateway, quiet: Rig, policy: str
) -> None:
    names = ""
    for n in range(40):
        answer = every_policy.fetch(
            "GET", f"/any/{n}", host=policy, source=f"127.0.2.{n + 1}"
        )
        assert answer.status == 200
        names += (answer.value("x-origin") or b"?").decode()

    assert set(names) == {"a", "b"}


@pytest.mark.parametrize("policy", BALANCES)
def test_every_policy_serves_through_a_single_endpoint(
    every_policy: Gateway, quiet: Rig, policy: str
) -> None:
    with every_policy.client() as client:
        for _ in range(20):
            answer = client.ask("GET", "/size/1", host=f"only.{policy}")
            assert answer.value("x-origin") == b"a"


def test_a_dead_endpoint_is_skipped_for_a_while_and_tried_again(rig: Rig) -> None:
    a, b = rig.origin(name="a"), rig.origin(name="b")
    b.stop_listening()
    gateway = rig.gateway(a, b, eject="3/1s")
    assert picks(gateway, 40) == "a" * 40
    state = gateway.endpoints()[b.address]
    attempts = state["failures"]
    assert state["state"] != "up"
    picks(gateway, 20)

    assert gateway.endpoints()[b.address]["failures"] <= attempts + 1
    b.listen_again()
    eventually(lambda: "b" in picks(gateway, 4), within_s=5, what="b is used again")


def test_when_all_endpoints_are_dead_the_answer_is_503(rig: Rig) -> None:
    gateway = rig.gateway(addresses.unused(), addresses.unused())
    statuses = {gateway.fetch().status for _ in range(10)}

    assert statuses == {503}
