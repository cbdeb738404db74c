"""Upstream connections: reused, replaced, bounded."""

from __future__ import annotations

import threading

import pytest
from support.client import Client, request
from support.gateway import Gateway
from support.origin import (
    Origin,
    OriginConnection,
    digest,
    finish,
    hold,
    pattern,
    response,
    serve,
)
from support.rig import Rig
from support.waiting import eventually

OK = response(200, b"ok")


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    """With every setting at its default, but endpoints are never given up."""
    return module_rig.gateway(module_rig.origin(), eject="off")


@pytest.fixture
def origin(gateway: Gateway, quiet: Rig) -> Origin:
    """Its origin, serving as usual with an empty record."""
    quiet.origins[0].forget(serve)
    return quiet.origins[0]


@pytest.fixture
def client(gateway: Gateway, quiet: Rig) -> Client:
    return quiet.client(gateway)


def test_one_upstream_connection_serves_request_after_request(
    client: Client, origin: Origin
) -> None:
    for n in range(30):
        assert client.ask("GET", f"/size/{n}").body == pattern(n)

    assert len(origin.connections) == 1


def test_clients_share_idle_upstream_connections(
    gateway: Gateway, origin: Origin
) -> None:
    for n in range(30):
        assert gateway.fetch("POST", "/any", body=pattern(n)).status == 200

    assert len(origin.connections) == 1


def test_simultaneous_requests_take_a_connection_each(
    gateway: Gateway, origin: Origin, quiet: Rig
) -> None:
    gate = threading.Event()
    origin.forget(hold(gate, OK))
    clients = [quiet.client(gateway) for _ in range(8)]
    for client in clients:
        client.send(request())
    origin.wait_for_requests(8)
    gate.set()

    assert all(client.read_response().status == 200 for client in clients)
    assert len(origin.connections) == 8


def test_no_more_than_the_pool_holds_stay_open(rig: Rig) -> None:
    gate = threading.Event()
    origin = rig.origin(hold(gate, OK))
    gateway = rig.gateway(origin, upstream_pool=2)
    clients = [rig.client(gateway) for _ in range(8)]
    for client in clients:
        client.send(request())
    origin.wait_for_requests(8)
    gate.set()

    assert all(client.read_response().status == 200 for client in clients)
    eventually(lambda: len(origin.open_connections) == 2, what="two stay open")


def test_an_idle_connection_is_closed_after_its_time(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, upstream_idle="200ms")
    gateway.fetch("GET", "/size/1")

    eventually(lambda: not origin.open_connections, within_s=2)
    assert gateway.fetch("GET", "/size/1").status == 200


def test_a_connection_that_the_upstream_closes_is_not_used_again(
    client: Client, origin: Origin
) -> None:
    for _ in range(20):
        assert client.ask("GET", "/close").body == b"ok"

    assert len(origin.connections) == 20


@pytest.mark.parametrize(
    ("method", "end"), [("GET", "close"), ("GET", "reset"), ("POST", "half_close")]
)
def test_an_idle_connection_that_ended_unannounced_is_replaced(
    client: Client, origin: Origin, method: str, end: str
) -> None:
    """The upstream hangs up right behind each answer, as many do after a timeout.

    A GET may be sent again, so it is sent while FIN or RST are still news. A POST
    may not; its turn comes when the gateway has taken leave of the connection.
    """

    def script(connection: OriginConnection) -> None:
        if connection.read_request():
            connection.send(OK)
            finish(connection, end)

    origin.forget(script)
    for _ in range(100):
        client.send(request(method, "/", body=b"x" if method == "POST" else None))
        assert client.read_response(method).status == 200
        eventually(lambda: all(c.is_closed for c in origin.connections))


def closes_on_the_second(connection: OriginConnection) -> None:
    """Serve one request; hang up on the next when it has been read."""
    if connection.read_request():
        connection.send(OK)
        connection.read_request()


def test_a_get_that_meets_a_closing_connection_is_replayed(
    client: Client, origin: Origin
) -> None:
    origin.forget(closes_on_the_second)

    assert [client.ask("GET", f"/{n}").status for n in range(10)] == [200] * 10


def test_a_post_that_was_read_is_never_sent_twice(
    gateway: Gateway, origin: Origin
) -> None:
    origin.forget(closes_on_the_second)
    statuses = []
    for n in range(10):
        answer = gateway.fetch("POST", f"/{n}", body=pattern(100_000))
        statuses.append(answer.status)

    targets = [one.target for one in origin.requests]
    assert sorted(targets) == sorted(set(targets))
    assert set(statuses) == {200, 502}


def test_an_unasked_answer_on_an_idle_connection_reaches_nobody(
    gateway: Gateway, origin: Origin
) -> None:
    def script(connection: OriginConnection) -> None:
        while request := connection.read_request():
            connection.send(response(200, request.target))
            connection.send(response(200, b"poison"))
            is_poisoned.set()

    is_poisoned = threading.Event()
    origin.forget(script)
    for n in range(50):
        assert gateway.fetch("GET", f"/{n}").body == b"/%d" % n
        # What comes behind the next request cannot be told from its answer.
        assert is_poisoned.wait(5)
        is_poisoned.clear()


def test_more_bytes_than_announced_reach_nobody(client: Client, origin: Origin) -> None:
    def script(connection: OriginConnection) -> None:
        while connection.read_request():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokpoison")

    origin.forget(script)
    for _ in range(20):
        assert client.ask("GET", "/").body == b"ok"
        assert not client.unread


def test_requests_beyond_the_limit_wait_for_a_connection(rig: Rig) -> None:
    origin = rig.origin()
    gateway = rig.gateway(origin, upstream={"upstream_max": 2}, queue_timeout="5s")
    clients = [rig.client(gateway) for _ in range(10)]
    for client in clients:
        client.send(request("GET", "/slow/50"))

    assert [client.read_response().body for client in clients] == [b"ok"] * 10
    assert len(origin.connections) == 2


def test_a_request_that_waits_too_long_is_sent_away(rig: Rig) -> None:
    gate = threading.Event()
    origin = rig.origin(hold(gate, OK))
    gateway = rig.gateway(origin, upstream_max=1, queue_timeout="200ms")
    first = rig.client(gateway)
    first.send(request())
    origin.wait_for_requests(1)

    assert gateway.fetch().status == 503
    gate.set()
    assert first.read_response().status == 200
    assert len(origin.requests) == 1


def test_a_full_queue_sends_away_at_once(rig: Rig) -> None:
    gate = threading.Event()
    origin = rig.origin(hold(gate, OK))
    gateway = rig.gateway(origin, upstream_max=1, queue=2, queue_timeout="20s")
    clients = [rig.client(gateway) for _ in range(6)]
    clients[0].send(request())
    origin.wait_for_requests(1)
    for client in clients[1:]:
        client.send(request())
    refused = [client for client in clients[1:] if client.has_answer(0.3)]

    assert len(refused) == 3
    assert {client.read_response().status for client in refused} == {503}
    gate.set()
    served = [client for client in clients if client not in refused]
    assert {client.read_response().status for client in served} == {200}


def test_a_client_that_leaves_the_queue_is_not_served(rig: Rig) -> None:
    gate = threading.Event()
    origin = rig.origin(hold(gate, OK))
    gateway = rig.gateway(origin, upstream_max=1, queue_timeout="20s")
    first, second = rig.client(gateway), rig.client(gateway)
    first.send(request("GET", "/1"))
    origin.wait_for_requests(1)
    second.send(request("GET", "/2"))
    assert second.is_open(0.1)
    second.reset()
    assert first.is_open(0.1)
    gate.set()

    assert first.read_response().status == 200
    assert gateway.fetch("GET", "/3").status == 200
    assert [one.target for one in origin.requests] == [b"/1", b"/3"]


def test_an_answer_is_never_given_to_another_request(rig: Rig) -> None:
    """Many clients, odd ends, one pool: each gets the answer to its own nonce."""
    origin = rig.origin()
    gateway = rig.gateway(origin, workers=2)
    wrong: list[str] = []

    def ask(client: Client, seed: int, n: int) -> None:
        nonce = f"{seed}-{n}"
        size = (seed * 7919 + n * 104729) % 3000
        kind = ("size", "chunked", "eof")[n % 3]
        answer = client.ask("GET", f"/{kind}/{size}", {"X-Nonce": nonce})
        if answer.value("x-nonce") != nonce.encode():
            wrong.append(nonce)
        if digest(answer.body) != digest(pattern(size)):
            wrong.append(nonce)

    def work(seed: int) -> None:
        for start in range(0, 60, 10):
            with gateway.client() as client:
                for n in range(start, start + 10):
                    ask(client, seed, n)
                client.send(request("GET", "/size/50000"))
                client.reset()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)

    assert wrong == []


def test_a_waiter_whose_client_takes_interim_answers_goes_on_waiting(rig: Rig) -> None:
    """They came from one that then failed; another has no connection to give."""
    busy, gate, failed = threading.Event(), threading.Event(), threading.Event()
    interim = b"HTTP/1.1 103 Hints\r\nLink: <" + b"x" * 50_000 + b">\r\n\r\n"

    def script(connection: OriginConnection) -> None:
        while asked := connection.read_request():
            if asked.target == b"/hold":
                busy.set()
                gate.wait(10)
            elif not failed.is_set():
                failed.set()
                connection.send(interim * 90)
                return
            connection.send(OK)

    gateway = rig.gateway(
        rig.origin(script),
        rig.origin(script),
        upstream={"upstream_max": 1},
        eject="off",
    )
    holder, client = rig.client(gateway), rig.client(gateway)
    holder.send(request("GET", "/hold"))
    assert busy.wait(5)
    client.send(request("GET", "/hints"))
    assert failed.wait(5)
    eventually(lambda: rig.origins[0].connections and rig.origins[1].connections)
    client.read_exactly(len(interim) * 89)
    gate.set()

    assert holder.read_response().status == 200
    rest = client.read_some()
    while b"HTTP/1.1 200" not in rest:
        rest += client.read_some()
    assert rest.endswith(b"ok")
