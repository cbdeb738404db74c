"""Upstreams that refuse, hang, break off and talk nonsense."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter

import h11
import pytest
from support import addresses
from support.client import Client, TruncatedError, request
from support.fault_proxy import Fault
from support.gateway import Gateway
from support.origin import (
    Origin,
    OriginConnection,
    always,
    chunked,
    digest,
    once,
    pattern,
    refuse_body,
    response,
    serve,
    silent,
)
from support.rig import Rig
from support.waiting import Stopwatch, eventually

OK = response(200, b"ok")


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    """One endpoint, never given up, never asked twice."""
    return module_rig.gateway(module_rig.origin(), retries=0, eject="off")


@pytest.fixture
def origin(gateway: Gateway, quiet: Rig) -> Origin:
    """Its origin; to be told what to do by `forget`."""
    return quiet.origins[0]


@pytest.fixture
def client(gateway: Gateway, quiet: Rig) -> Client:
    return quiet.client(gateway)


# What no upstream may say: each is a 502, and nothing of it reaches the client.
NONSENSE = {
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "length list": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    "coding twice": b"HTTP/1.1 200 OK\r\n"
    b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare LF header": b"HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 2\r\n\r\nok",
    "bare CR": b"HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 2\r\n\r\nok",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok",
    "empty name": b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok",
    "control in value": b"HTTP/1.1 200 OK\r\nX-A: \x01\r\nContent-Length: 2\r\n\r\nok",
    "NUL in value": b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nok",
    "status 1000": b"HTTP/1.1 1000 X\r\nContent-Length: 2\r\n\r\nok",
    "status 20": b"HTTP/1.1 20 X\r\nContent-Length: 2\r\n\r\nok",
    "version 2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "version 0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "other protocol": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "random": pattern(200),
    "empty line first": b"\r\n\r\n\r\n\r\nnothing",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "10,000 headers": b"HTTP/1.1 200 OK\r\n"
    + b"X: y\r\n" * 10_000
    + b"Content-Length: 2\r\n\r\nok",
    "1 MB header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
    "unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
    b"Connection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_nonsensical_answer_is_502_and_nothing_of_it_passes(
    client: Client, origin: Origin, name: str
) -> None:
    def script(connection: OriginConnection) -> None:
        if connection.read_request():
            connection.send(NONSENSE[name])
            connection.half_close()
            connection.wait_closed()

    origin.forget(script)
    answer = client.ask()

    assert answer.status == 502
    assert answer.values("x-a") == answer.values("x") == []
    eventually(lambda: not origin.open_connections)


CHUNK_FAULTS = {
    "not hexadecimal": b"xyz\r\nhello\r\n0\r\n\r\n",
    "overflow": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "no end of data": b"5\r\nhelloworld\r\n0\r\n\r\n",
    "bare LF": b"5\nhello\n0\n\n",
    "never ends": b"5\r\nhello\r\n",
    "cut in data": b"50\r\nhello",
    "cut in size": b"5\r\nhello\r\n5",
}


@pytest.mark.parametrize("name", CHUNK_FAULTS)
def test_a_broken_chunked_answer_is_never_a_whole_one(
    client: Client, origin: Origin, name: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    origin.forget(once(head + CHUNK_FAULTS[name]))
    client.send(request())
    # Broken off, or refused where the fault was seen before the head was sent.
    with contextlib.suppress(TruncatedError, h11.RemoteProtocolError):
        assert client.read_response().status == 502


@pytest.fixture(scope="module")
def through_proxy(gateway: Gateway, module_rig: Rig) -> Gateway:
    """A second gateway, whose endpoint is a fault proxy before the last origin."""
    proxy = module_rig.fault_proxy(module_rig.origin())
    return module_rig.gateway(proxy, retries=0, eject="off")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize("after", [150, 5_000, 90_000])
def test_an_answer_cut_anywhere_is_never_a_whole_one(
    through_proxy: Gateway, quiet: Rig, kind: str, framing: str, after: int
) -> None:
    gateway, (proxy,) = through_proxy, quiet.proxies
    quiet.origins[-1].forget(always(response(200, pattern(100_000), framing=framing)))
    proxy.inject(Fault(kind, after=after))
    client = quiet.client(gateway)
    client.send(request())
    # Broken off, or refused where the cut was seen before the head was sent.
    with contextlib.suppress(TruncatedError):
        assert client.read_response().status == 502
    proxy.heal()

    assert gateway.fetch().body == pattern(100_000)


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_all_that_came_of_a_cut_answer_is_delivered(
    through_proxy: Gateway, quiet: Rig, kind: str
) -> None:
    gateway, (proxy,) = through_proxy, quiet.proxies
    whole = response(200, pattern(2_000_000))
    quiet.origins[-1].forget(always(whole))
    proxy.inject(Fault(kind, after=1_000_000))
    client = quiet.client(gateway, receive_buffer_bytes=65536)
    client.send(request())
    got, is_orderly = client.read_to_any_end()
    proxy.heal()

    assert is_orderly
    body = got.partition(b"\r\n\r\n")[2]
    sent = whole[:1_000_000].partition(b"\r\n\r\n")[2]
    assert sent.startswith(body)
    # A reset at the endpoint's end destroys what its kernel had not delivered.
    assert len(body) == len(sent) or kind == "reset"


def test_an_eof_answer_that_is_reset_is_not_ended_cleanly(
    client: Client, origin: Origin
) -> None:
    def script(connection: OriginConnection) -> None:
        if connection.read_request():
            connection.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
            connection.stall(0.1)
            connection.reset()

    origin.forget(script)
    client.send(request())
    with pytest.raises(TruncatedError):
        client.read_response()


# Retries.


@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize("after", [0, 10])
def test_a_get_whose_head_never_came_is_tried_elsewhere(
    rig: Rig, kind: str, after: int
) -> None:
    bad, good = rig.origin(name="bad"), rig.origin(name="good")
    proxy = rig.fault_proxy(bad)
    proxy.inject(Fault(kind, after=after))
    gateway = rig.gateway(proxy, good, eject="off", retry_budget=100)

    answers = [gateway.fetch("GET", f"/size/{n}") for n in range(20)]

    assert {answer.status for answer in answers} == {200}
    assert {answer.value("x-origin") for answer in answers} == {b"good"}


def test_a_post_that_was_read_is_not_tried_elsewhere(rig: Rig) -> None:
    seen: list[bytes] = []

    def read_and_hang_up(connection: OriginConnection) -> None:
        if one := connection.read_request():
            seen.append(one.target)

    good = rig.origin(name="good")
    gateway = rig.gateway(rig.origin(read_and_hang_up), good, eject="off")
    statuses = [gateway.fetch("POST", f"/{n}", body=b"x").status for n in range(20)]

    reached = seen + [one.target for one in good.requests]
    assert len(reached) == len(set(reached)) == 20
    assert Counter(statuses) == {502: len(seen), 200: 20 - len(seen)}


@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_a_post_is_tried_elsewhere_while_nothing_of_it_was_sent(
    rig: Rig, size: int
) -> None:
    dead, good = addresses.unused(), rig.origin()
    gateway = rig.gateway(dead, good, eject="off", retry_budget=100, body_timeout="2s")
    body = pattern(size)
    statuses = [gateway.fetch("POST", "/any", body=body).status for _ in range(10)]

    assert statuses == [200] * 10
    assert [one.body for one in good.requests] == [body] * 10


def test_the_same_endpoint_is_not_tried_twice(rig: Rig) -> None:
    origin = rig.origin(once(b"", end="reset"))
    gateway = rig.gateway(origin, retries=5, eject="off")

    assert gateway.fetch().status == 502
    assert len(origin.requests) == 1


def test_retries_are_counted(rig: Rig) -> None:
    origins = [rig.origin(once(b"", end="reset")) for _ in range(4)]
    gateway = rig.gateway(*origins, retries=2, eject="off", retry_budget=100)

    assert gateway.fetch().status == 502
    assert sum(len(origin.requests) for origin in origins) == 3


def test_retries_keep_within_their_budget(rig: Rig) -> None:
    origins = [rig.origin(once(b"", end="reset")) for _ in range(3)]
    gateway = rig.gateway(*origins, retries=2, eject="off", retry_budget=20)
    count = 200
    with gateway.client() as client:
        for _ in range(count):
            assert client.ask("GET", "/").status in (502, 503)

    attempts = sum(len(origin.requests) for origin in origins)
    assert count <= attempts <= 1.3 * count


def test_one_dead_endpoint_of_three_costs_no_client_an_error(rig: Rig) -> None:
    a, b = rig.origin(), rig.origin()
    gateway = rig.gateway(a, addresses.unused(), b, workers=2)
    for n in range(150):
        assert gateway.fetch("GET", f"/size/{n % 50}").status == 200


FAULTY = {
    "reset": once(b"", end="reset"),
    "close": once(b""),
    "half a head": once(b"HTTP/1.1 200 OK\r\nX-A"),
    "garbage": once(b"\x00\x01\x02\x03\r\n\r\n"),
    "hang": silent,
}


@pytest.mark.parametrize("name", FAULTY)
def test_an_endpoint_that_fails_every_request_is_skipped_for_a_while(
    rig: Rig, name: str
) -> None:
    bad, good = rig.origin(FAULTY[name]), rig.origin(name="good")
    gateway = rig.gateway(
        bad,
        good,
        eject="3/30s",
        upstream_timeout="100ms",
        retry_budget=100,
    )
    statuses = [gateway.fetch("GET", "/size/1").status for _ in range(60)]

    assert len(bad.requests) <= 4
    assert statuses[10:] == [200] * 50
    assert gateway.endpoints()[bad.address]["state"] != "up"


# Slowness.


def test_an_answer_in_single_bytes_is_passed_on_as_it_comes(rig: Rig) -> None:
    proxy = rig.fault_proxy(rig.origin())
    proxy.inject(Fault("trickle", pause_s=0.001))

    assert rig.gateway(proxy).fetch("GET", "/size/300").body == pattern(300)


@pytest.mark.parametrize("framing", ["length", "chunked", "eof"])
@pytest.mark.parametrize("step", [1, 7, 100])
def test_the_cut_of_an_answer_makes_no_difference(
    client: Client, origin: Origin, framing: str, step: int
) -> None:
    body = pattern(2000)
    data = response(200, body, {"X-A": "b"}, framing=framing, chunk_bytes=33)

    def script(connection: OriginConnection) -> None:
        while connection.read_request():
            connection.drip(data, step=step)
            if framing == "eof":
                return

    origin.forget(script)
    for _ in range(3):
        answer = client.ask()
        assert (answer.value("x-a"), answer.body) == (b"b", body)


def test_a_stalled_endpoint_does_not_hold_up_the_others(rig: Rig) -> None:
    stalled, good = rig.origin(silent), rig.origin()
    gateway = rig.gateway(
        upstreams={
            "stalled": {"endpoints": [stalled.address]},
            "main": {"endpoints": [good.address]},
        },
        routes=[
            {
                "name": "stalled",
                "match": {"path_prefix": "/stalled"},
                "upstream": "stalled",
            },
            {"name": "main", "upstream": "main"},
        ],
    )
    for _ in range(50):
        rig.client(gateway).send(request("GET", "/stalled/x"))
    stalled.wait_for_requests(50)
    watch = Stopwatch()
    with gateway.client() as client:
        for _ in range(200):
            assert client.ask("GET", "/size/1").status == 200

    assert watch.seconds < 2


# Early answers and odd ends.


def test_an_early_answer_to_a_large_upload_reaches_the_client(
    gateway: Gateway, origin: Origin, quiet: Rig
) -> None:
    origin.forget(refuse_body)
    for _ in range(10):
        client = quiet.client(gateway)
        client.send_in_background(request("POST", "/", body=pattern(5_000_000)))
        answer = client.read_response("POST")
        assert (answer.status, answer.body) == (403, b"no")
        client.close()
    origin.forget(serve)

    assert gateway.fetch("GET", "/size/1").status == 200


def test_an_upstream_that_half_closes_behind_its_answer_is_not_used_again(
    client: Client, origin: Origin
) -> None:
    origin.forget(once(OK, end="half_close"))
    for _ in range(20):
        assert client.ask().body == b"ok"

    assert len(origin.connections) == 20


def test_an_upload_cut_on_its_way_is_an_error_not_an_answer(rig: Rig) -> None:
    origin = rig.origin()
    proxy = rig.fault_proxy(origin)
    proxy.inject(Fault("reset", direction="request", after=20_000))
    gateway = rig.gateway(proxy, eject="off")
    client = rig.client(gateway)
    client.send_in_background(request("POST", "/any", body=pattern(1_000_000)))

    assert client.read_response("POST").status == 502
    assert origin.requests == []


def test_interim_answers_without_end_are_bounded(rig: Rig) -> None:
    def script(connection: OriginConnection) -> None:
        if connection.read_request():
            while not connection.origin.stopping.is_set():
                connection.send(b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" * 100)

    origin = rig.origin(script)
    gateway = rig.gateway(origin, upstream_timeout="1s", retries=0)
    answer = gateway.fetch()

    assert answer.status in (502, 504)
    assert len(answer.interim) <= 100
    eventually(lambda: not origin.open_connections, within_s=2)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"
        b"Content-Length: 6\r\n\r\npoison",
    ],
)
def test_what_follows_an_answer_is_never_the_next_answer(
    client: Client, origin: Origin, answer: bytes
) -> None:
    def script(connection: OriginConnection) -> None:
        while connection.read_request():
            connection.send(answer)

    origin.forget(script)
    for _ in range(20):
        got = client.ask()
        assert got.body in (b"", b"ok")
        assert b"poison" not in got.raw + client.unread


def test_bytes_behind_an_answer_to_head_are_never_the_next_answer(
    client: Client, origin: Origin
) -> None:
    def script(connection: OriginConnection) -> None:
        while connection.read_request():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    origin.forget(script)
    for _ in range(10):
        assert client.ask("HEAD", "/").body == b""
        assert client.is_open(0.02)
        assert client.ask("GET", "/").body == b"hello"


@pytest.mark.slow
def test_faults_at_random_never_mix_up_answers(rig: Rig) -> None:
    """Every fault in turn, under load; each whole answer is the right one."""
    origin = rig.origin()
    proxy = rig.fault_proxy(origin)
    gateway = rig.gateway(
        proxy, workers=2, eject="off", upstream_timeout="300ms", between_timeout="300ms"
    )
    wrong: list[str] = []
    whole = [0]
    is_over = threading.Event()

    def work(seed: int) -> None:
        n = 0
        while not is_over.is_set():
            n += 1
            nonce = f"{seed}-{n}"
            size = (seed * 7919 + n * 104729) % 20_000
            kind = ("size", "chunked")[n % 2]
            try:
                answer = gateway.fetch("GET", f"/{kind}/{size}", {"X-Nonce": nonce})
            except (TruncatedError, ConnectionError):
                continue
            if answer.status != 200:
                continue
            whole[0] += 1
            if answer.value("x-nonce") != nonce.encode() or digest(
                answer.body
            ) != digest(pattern(size)):
                wrong.append(nonce)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    faults = [
        Fault("cut", after=300),
        Fault("reset", after=3000),
        Fault("half_close", after=1000),
        Fault("stall", after=500),
        Fault("trickle", step=900, pause_s=0.001),
        Fault("cut", direction="request", after=100),
        Fault("reset", direction="request", after=60),
    ]
    for fault in faults:
        before = whole[0]
        proxy.inject(fault, connections=10)
        proxy.drop_connections()
        eventually(lambda before=before: whole[0] > before + 20, within_s=8)
        proxy.heal()
    is_over.set()
    for thread in threads:
        thread.join(10)

    assert wrong == []


def test_a_request_body_in_many_small_chunks_arrives(
    client: Client, origin: Origin
) -> None:
    origin.forget(serve)
    body = pattern(20_000)
    head = request("POST", "/any", {"Transfer-Encoding": "chunked"})
    client.send_in_background(head + chunked(body, 10))

    assert client.read_response("POST").status == 200
    assert origin.requests[0].body == body
