"""Golden wire files, and a table of every byte in every place of a head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.client import request
from support.gateway import Gateway
from support.origin import OriginConnection
from support.rig import Rig
from support.waiting import eventually
from support.wirefile import WireCase, cases, join_chunks

FILES = Path(__file__).parent / "wire"
INVALID = cases("invalid")
VALID = cases("valid")
SEGMENTATIONS = ["whole", "bytewise", "halves"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# A byte at a time is for messages; beyond this it would only be slow.
BYTEWISE_LIMIT_BYTES = 16384

ADDED = (
    "X-Forwarded-For: 127.0.0.1\r\n"
    "X-Forwarded-Proto: http\r\n"
    "X-Forwarded-Host: {host}\r\n"
    "X-Forwarded-Port: {port}\r\n"
    "X-Request-ID: {{id}}\r\n"
)


def cuts(data: bytes, segmentation: str) -> list[int]:
    if segmentation == "whole":
        return []
    if segmentation == "halves":
        return [len(data) // 2]
    step = 1 if len(data) <= BYTEWISE_LIMIT_BYTES else 1000
    return list(range(step, len(data), step))


class Script:
    """An upstream that answers the n-th request with the n-th given bytes."""

    def __init__(self) -> None:
        self.answers: tuple[bytes, ...] = ()
        self.served = 0

    def __call__(self, connection: OriginConnection) -> None:
        while connection.read_request():
            answers = self.answers or (OK,)
            answer = answers[min(self.served, len(answers) - 1)]
            self.served += 1
            connection.send(answer)
            if ends_at_eof(answer):
                return


def ends_at_eof(answer: bytes) -> bool:
    """Whether the last response in `answer` has neither length nor chunks."""
    head = answer.rpartition(b"HTTP/1.")[2].partition(b"\r\n\r\n")[0].lower()
    if re.match(rb"\d (1\d\d|204|304)", head):
        return False
    return b"content-length:" not in head and b"transfer-encoding:" not in head


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def gateway(module_rig: Rig, script: Script) -> Gateway:
    origin = module_rig.origin(script)
    return module_rig.gateway(origin, workers=1, header_timeout="5s")


def probe(rig: Rig, gateway: Gateway) -> None:
    """An ordinary request; after it, what came before has had its effect."""
    client = rig.client(gateway)
    client.send(request("GET", "/probe", {"Connection": "close"}))
    assert client.read_response().status == 200
    client.close()


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
@pytest.mark.parametrize("case", INVALID, ids=[case.name for case in INVALID])
def test_a_bad_request_is_refused_and_nothing_reaches_the_upstream(
    case: WireCase, segmentation: str, gateway: Gateway, script: Script, quiet: Rig
) -> None:
    origin = quiet.origins[0]
    script.answers = (OK,)
    before = len(origin.heads), len(origin.requests), len(origin.received)
    client = quiet.client(gateway)
    client.send_as_far_as_taken(case.request, cuts=cuts(case.request, segmentation))
    raw, _ = client.read_to_any_end()
    probe(quiet, gateway)

    head, _, body = raw.partition(b"\r\n\r\n")
    start = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n", head + b"\r\n")
    assert start, (case.title, raw)
    assert int(start[1]) in case.statuses, case.title
    assert re.search(rb"(?im)^connection: close\r?$", head)
    assert b"HTTP/1." not in body, "answered twice"
    assert len(body) < 512
    new_heads = origin.heads[before[0] :]
    new_requests = [one.target for one in origin.requests[before[1] :]]
    assert new_requests == [b"/probe"], case.title
    if not case.may_truncate:
        assert [one.target for one in new_heads] == [b"/probe"], case.title
        assert len(origin.received) - before[2] == len(new_heads[-1].head), case.title


@pytest.mark.parametrize("segmentation", SEGMENTATIONS)
@pytest.mark.parametrize("case", VALID, ids=[case.name for case in VALID])
def test_a_good_request_is_forwarded_and_answered_byte_for_byte(
    case: WireCase, segmentation: str, gateway: Gateway, script: Script, quiet: Rig
) -> None:
    origin = quiet.origins[0]
    origin.forget(script)
    script.answers, script.served = case.origin, 0
    client = quiet.client(gateway)
    taken = client.send_as_far_as_taken(
        case.request, cuts=cuts(case.request, segmentation)
    )
    wanted = comparable(case.client)
    got = b""
    while comparable(got) != wanted and (piece := client.read_some()):
        got += piece

    assert comparable(got) == wanted, case.title
    upstream = expand(case.upstream, gateway.address.rpartition(":")[2])
    assert comparable(origin.received) == comparable(upstream), case.title
    if case.then == "close":
        # What stands behind the last request may meet a socket already closed.
        assert client.is_closed(), case.title
    else:
        assert taken, case.title
        assert client.is_open(0.01), case.title


def expand(template: bytes, port: str) -> bytes:
    """Fill in `{added:HOST}` and `{port}`, the listener's."""

    def added(found: re.Match[bytes]) -> bytes:
        return ADDED.format(host=found[1].decode(), port=port).encode()

    return re.sub(rb"\{added:([^}]*)\}", added, template).replace(
        b"{port}", port.encode()
    )


def comparable(stream: bytes) -> bytes:
    """`stream` without what depends on chance: ids, dates of ours, chunk borders."""
    with_id = re.sub(
        rb"(?im)^(x-request-id: )[0-9a-f-]{16,64}(\r?)$", rb"\1{id}\2", stream
    )
    same = re.sub(
        rb"(?m)^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT(\r?)$",
        rb"Date: {date}\1",
        with_id,
    )
    try:
        return join_chunks(same)
    except ValueError:
        return same


# The table of bytes (RFC 9110 sections 5.1, 5.5; RFC 9112 section 3.2).

TCHAR = b"!#$%&'*+-.^_`|~0123456789" + bytes(range(65, 91)) + bytes(range(97, 123))
VCHAR = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100)) + b" \t"
# In a path every visible character is one of a segment, also those that the grammar
# does not have and that browsers send; but `%` begins an escape and `#` a fragment.
PATH = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"%#")

PLACES = {
    "name": (b"GET / HTTP/1.1\r\nHost: example.com\r\nX-a%bb: c\r\n\r\n", TCHAR),
    "value": (b"GET / HTTP/1.1\r\nHost: example.com\r\nX-A: b%bc\r\n\r\n", VCHAR),
    "target": (b"GET /a%bb HTTP/1.1\r\nHost: example.com\r\n\r\n", PATH),
}


@pytest.mark.parametrize("place", PLACES)
def test_each_byte_is_taken_or_refused_as_the_grammar_says(
    place: str, gateway: Gateway, script: Script, quiet: Rig
) -> None:
    template, allowed = PLACES[place]
    # `Name: ` is complete before a colon, so that byte makes another, valid header.
    if place == "name":
        allowed += b":"
    origin = quiet.origins[0]
    origin.forget(script)
    script.answers, script.served = (), 0
    wrong = {}
    for byte in range(256):
        client = quiet.client(gateway)
        client.send(template % bytes([byte]))
        try:
            status = client.read_response().status
        finally:
            client.close()
        if status != (200 if byte in allowed else 400):
            wrong[f"{byte:#04x}"] = status

    assert wrong == {}
    assert len(origin.requests) == sum(byte in allowed for byte in range(256))


def test_each_wire_file_has_a_number_of_its_own() -> None:
    for folder in ("invalid", "valid"):
        numbers = [
            path.name[:3]
            for path in (Path(__file__).parent / "wire" / folder).iterdir()
        ]
        assert len(set(numbers)) == len(numbers)


def test_the_wire_files_cover_the_catalogue() -> None:
    assert len(INVALID) + len(VALID) >= 120
    assert all(case.title and case.request for case in INVALID + VALID)
    assert all(case.statuses for case in INVALID)
    assert all(case.client and case.upstream for case in VALID)


def test_a_refused_connection_is_closed_although_the_client_keeps_its_side_open(
    gateway: Gateway, quiet: Rig
) -> None:
    client = quiet.client(gateway)
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.read_response().status == 400
    assert client.is_closed()
    eventually(lambda: len(gateway.worker_pids()) == 1, what="the worker lives")
