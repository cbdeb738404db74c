"""Every clock and every limit has its status, and ends what it should end."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from support import addresses
from support.client import TruncatedError, request
from support.gateway import Gateway
from support.origin import (
    Origin,
    OriginConnection,
    chunked,
    pattern,
    serve,
    silent,
)
from support.rig import Rig
from support.waiting import Stopwatch, eventually

HEAD = request("GET", "/size/1")

CLOCKS = {
    "upstream": {"upstream_timeout": "300ms"},
    "between": {"between_timeout": "300ms", "upstream_timeout": "300ms"},
    "deadline": {"deadline": "300ms"},
}


@pytest.fixture(scope="module")
def origin(module_rig: Rig) -> Origin:
    """The one origin behind all gateways that the tests of this module share."""
    return module_rig.origin()


@pytest.fixture(scope="module")
def impatient(module_rig: Rig, origin: Origin) -> Gateway:
    """Short of patience with clients."""
    return module_rig.gateway(
        origin,
        header_timeout="300ms",
        body_timeout="300ms",
        keepalive="300ms",
        send_timeout="500ms",
    )


@pytest.fixture(scope="module")
def clocks(module_rig: Rig, origin: Origin) -> Gateway:
    """Hosts named after the upstream clock that runs short there, and `dead`."""
    upstreams = {
        name: {"endpoints": [origin.address]} | keys for name, keys in CLOCKS.items()
    }
    upstreams["dead"] = {"endpoints": [addresses.unused()]}
    routes = [
        {"name": name, "match": {"host": name}, "upstream": name} for name in upstreams
    ]
    routes.append(
        {
            "name": "route-deadline",
            "match": {"host": "route-deadline"},
            "upstream": "main",
            "deadline": "300ms",
        }
    )
    upstreams["main"] = {"endpoints": [origin.address]}
    return module_rig.gateway(
        upstreams=upstreams, routes=routes, retries=0, eject="off"
    )


@pytest.fixture(scope="module")
def narrow(module_rig: Rig, origin: Origin) -> Gateway:
    """Low limits; the host `wide` may send bodies twice as large."""
    return module_rig.gateway(
        origin,
        max_body="1k",
        max_target="1k",
        max_header="2k",
        max_headers=10,
        routes=[
            {
                "name": "wide",
                "match": {"host": "wide"},
                "upstream": "main",
                "max_body": "2k",
            },
            {"name": "main", "upstream": "main"},
        ],
    )


@pytest.fixture
def fresh(quiet: Rig, origin: Origin) -> Origin:
    """The origin, serving as usual with an empty record."""
    origin.forget(serve)
    return origin


# Client side clocks.


def test_half_a_head_is_answered_408(
    impatient: Gateway, fresh: Origin, quiet: Rig
) -> None:
    client = quiet.client(impatient)
    client.send(HEAD[:-2])
    watch = Stopwatch()

    assert client.read_response().status == 408
    assert 0.2 <= watch.seconds <= 1.5
    assert client.is_closed()
    assert fresh.received == b""


def test_dripping_a_head_does_not_move_its_deadline(
    impatient: Gateway, quiet: Rig
) -> None:
    client = quiet.client(impatient)
    watch = Stopwatch()
    sent = client.drip(HEAD, pause_s=0.05)

    assert sent < len(HEAD)
    assert 0.2 <= watch.seconds <= 1.5
    raw, _ = client.read_to_any_end()
    assert raw.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed(
    impatient: Gateway, quiet: Rig
) -> None:
    client = quiet.client(impatient)
    watch = Stopwatch()
    raw, _ = client.read_to_any_end()

    assert watch.seconds <= 1.5
    assert raw == b"" or raw.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_a_body_that_stops_is_answered_408(
    impatient: Gateway, fresh: Origin, quiet: Rig, framing: str
) -> None:
    client = quiet.client(impatient)
    if framing == "counted":
        client.send(request("POST", "/any", {"Content-Length": "10"}) + b"12345")
    else:
        head = request("POST", "/any", {"Transfer-Encoding": "chunked"})
        client.send(head + b"a\r\n12345")
    watch = Stopwatch()

    assert client.read_response("POST").status == 408
    assert 0.2 <= watch.seconds <= 1.5
    assert client.is_closed()
    eventually(lambda: not fresh.open_connections)
    assert fresh.requests == []


@pytest.mark.slow
def test_a_body_below_the_minimum_rate_is_answered_408(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), min_rate="10k", body_timeout="30s")
    client = rig.client(gateway)
    client.send(request("POST", "/any", {"Content-Length": "100000"}))
    sent = client.drip(pattern(2000), pause_s=0.02)

    assert sent < 2000
    assert client.read_response("POST").status == 408


def test_an_idle_client_is_let_go_without_a_word(
    impatient: Gateway, fresh: Origin, quiet: Rig
) -> None:
    client = quiet.client(impatient)
    assert client.ask("GET", "/size/1").status == 200
    watch = Stopwatch()

    assert client.is_closed(within_s=2)
    assert 0.2 <= watch.seconds <= 1.5


def test_an_idle_client_may_come_back_in_time(
    impatient: Gateway, fresh: Origin, quiet: Rig
) -> None:
    client = quiet.client(impatient)
    for _ in range(4):
        assert client.ask("GET", "/size/1").status == 200
        assert client.is_open(0.15)


def test_keepalive_zero_closes_after_each_answer(rig: Rig) -> None:
    client = rig.client(rig.gateway(rig.origin(), keepalive=0))
    answer = client.ask("GET", "/size/1")

    assert answer.is_last
    assert client.is_closed()


def test_a_connection_serves_so_many_requests_and_says_which_is_the_last(
    rig: Rig,
) -> None:
    client = rig.client(rig.gateway(rig.origin(), keepalive_requests=3))
    answers = [client.ask("GET", "/size/1") for _ in range(3)]

    assert [answer.is_last for answer in answers] == [False, False, True]
    assert client.is_closed()


def test_a_client_that_never_reads_is_dropped(
    impatient: Gateway, fresh: Origin, quiet: Rig
) -> None:
    client = quiet.client(impatient, receive_buffer_bytes=4096)
    client.send(request("GET", "/size/33554432"))
    fresh.wait_for_requests(1)

    eventually(
        lambda: not fresh.open_connections, within_s=4, what="the upstream is let go"
    )


# Upstream clocks.


def test_a_refused_connection_is_answered_503(clocks: Gateway, quiet: Rig) -> None:
    assert clocks.fetch(host="dead").status == 503


def test_a_connection_that_is_never_accepted_is_given_up(rig: Rig) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = f"127.0.0.1:{full.getsockname()[1]}"
        # The queue of a backlog of 0 holds one; from then on SYNs are dropped.
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        gateway = rig.gateway(address, connect_timeout="300ms", retries=0)
        watch = Stopwatch()
        status = gateway.fetch().status
        seconds = watch.seconds
        for filler in fillers:
            filler.close()

    assert status in (503, 504)
    assert 0.2 <= seconds <= 2


def test_an_upstream_that_never_answers_is_given_up_with_504(
    clocks: Gateway, fresh: Origin
) -> None:
    fresh.forget(silent)
    watch = Stopwatch()
    status = clocks.fetch(host="upstream").status

    assert status == 504
    assert 0.2 <= watch.seconds <= 1.5
    eventually(lambda: not fresh.open_connections)


def test_a_post_is_not_retried_after_a_timeout(rig: Rig) -> None:
    origins = [rig.origin(silent), rig.origin(silent)]
    gateway = rig.gateway(*origins, upstream_timeout="200ms", retries=3)

    assert gateway.fetch("POST", "/", body=b"once").status == 504
    assert sum(len(origin.requests) for origin in origins) == 1


def test_an_answer_that_stops_midway_is_broken_off(
    clocks: Gateway, fresh: Origin, quiet: Rig
) -> None:
    def script(connection: OriginConnection) -> None:
        if connection.read_request():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            connection.wait_closed()

    fresh.forget(script)
    client = quiet.client(clocks)
    client.send(request(host="between"))
    watch = Stopwatch()
    with pytest.raises(TruncatedError):
        client.read_response()

    assert 0.2 <= watch.seconds <= 1.5


def test_a_slow_answer_is_not_broken_off_while_bytes_come(
    clocks: Gateway, fresh: Origin
) -> None:
    answer = clocks.fetch("GET", "/drip/10/100", host="between")

    assert answer.body == pattern(10)


@pytest.mark.parametrize("where", ["deadline", "route-deadline"])
def test_the_total_deadline_ends_with_504(
    clocks: Gateway, fresh: Origin, where: str
) -> None:
    fresh.forget(silent)
    watch = Stopwatch()

    assert clocks.fetch(host=where).status == 504
    assert 0.2 <= watch.seconds <= 1.5


def test_the_total_deadline_breaks_off_an_answer_that_drips(
    clocks: Gateway, fresh: Origin, quiet: Rig
) -> None:
    client = quiet.client(clocks)
    client.send(request("GET", "/drip/1000/20", host="deadline"))
    watch = Stopwatch()
    with pytest.raises(TruncatedError):
        client.read_response()

    assert 0.2 <= watch.seconds <= 1.5


# Limits.


def test_a_counted_body_over_the_limit_is_refused_at_its_head(
    narrow: Gateway, fresh: Origin, quiet: Rig
) -> None:
    client = quiet.client(narrow)
    client.send(request("POST", "/any", {"Content-Length": "1025"}))

    assert client.read_response("POST").status == 413
    assert client.is_closed()
    assert fresh.received == b""


def test_a_client_that_sends_its_whole_upload_first_reads_the_413(
    narrow: Gateway, fresh: Origin
) -> None:
    url = f"http://{narrow.address}/"
    for _ in range(10):
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(url, data=bytes(8 << 20), timeout=10)
        assert answer.value.code == 413
        answer.value.close()


def test_a_chunked_body_over_the_limit_is_refused_when_it_gets_there(
    narrow: Gateway, fresh: Origin, quiet: Rig
) -> None:
    client = quiet.client(narrow)
    head = request("POST", "/any", {"Transfer-Encoding": "chunked"})
    client.send_as_far_as_taken(head + chunked(pattern(5000), 500))

    assert client.read_response("POST").status == 413
    eventually(lambda: not fresh.open_connections)
    assert fresh.requests == []


@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_a_body_at_the_limit_passes(
    narrow: Gateway, fresh: Origin, quiet: Rig, framing: str
) -> None:
    body = pattern(1024)
    headers = {} if framing == "counted" else {"Transfer-Encoding": "chunked"}
    data = request("POST", "/any", headers, None if headers else body)
    client = quiet.client(narrow)
    client.send(data + (chunked(body) if headers else b""))

    assert client.read_response("POST").status == 200


def test_a_route_has_a_body_limit_of_its_own(narrow: Gateway, fresh: Origin) -> None:
    def post(size: int) -> int:
        return narrow.fetch("POST", "/any", body=pattern(size), host="wide").status

    assert (post(2048), post(2049)) == (200, 413)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET", "/" + "a" * 1023), 200),
        (request("GET", "/" + "a" * 1024), 414),
        (request("GET", "/", {"X-A": "a" * 1900}), 200),
        (request("GET", "/", {"X-A": "a" * 2100}), 431),
        (request("GET", "/", {f"X-{n}": "a" for n in range(9)}), 200),
        (request("GET", "/", {f"X-{n}": "a" for n in range(10)}), 431),
    ],
    ids=["target", "target+1", "header", "header+", "headers", "headers+1"],
)
def test_the_limits_of_a_head_are_exact(
    narrow: Gateway, fresh: Origin, quiet: Rig, data: bytes, status: int
) -> None:
    client = quiet.client(narrow)
    client.send(data)

    assert client.read_response().status == status


@pytest.mark.parametrize("line", [b"\r\n", b"\r\n\r\n"])
def test_an_empty_line_behind_a_request_begins_no_other(rig: Rig, line: bytes) -> None:
    gateway = rig.gateway(rig.origin(), header_timeout="200ms", keepalive="5s")
    client = rig.client(gateway)
    assert client.ask("GET", "/size/1").status == 200

    client.send(line)

    assert not client.has_answer(0.6)
    assert client.ask("GET", "/size/1").status == 200


def test_the_answer_of_the_gateway_itself_is_short_and_plain(
    clocks: Gateway, quiet: Rig
) -> None:
    answer = clocks.fetch(host="dead")

    assert (answer.value("content-type") or b"").startswith(b"text/plain")
    assert 0 < len(answer.body) < 256
    assert answer.value("server") == b"fastgate"


def test_head_gets_the_gateways_own_answer_without_its_body(
    clocks: Gateway, quiet: Rig
) -> None:
    client = quiet.client(clocks)

    assert client.ask("HEAD", "/", host="dead").status == 503
    assert client.is_open()
    assert client.ask("HEAD", "/", host="dead").status == 503


def test_a_503_does_not_cost_the_client_its_connection(
    clocks: Gateway, quiet: Rig
) -> None:
    client = quiet.client(clocks)

    assert [client.ask(host="dead").status for _ in range(3)] == [503] * 3
