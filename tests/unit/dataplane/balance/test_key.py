"""The key that places a request: equal for what shall go to one endpoint."""

from __future__ import annotations

import pytest
from attempt_probe import balancing_key as key


def request(target: str = "/", *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


OF_THE_CLIENT = key(request())


def test_other_policies_need_no_key() -> None:
    assert key(request(), balance="round-robin") == 0


@pytest.mark.parametrize("balance", ["hash", "ip-hash"])
def test_without_a_kind_it_is_the_clients(balance: str) -> None:
    assert key(request("/a"), balance=balance) == OF_THE_CLIENT
    assert key(request("/b"), balance=balance) == OF_THE_CLIENT
    assert key(request(), balance=balance, peer=b"192.0.2.2") != OF_THE_CLIENT


# What of a request counts: the same, and another.
SAME = [
    ("path", b"", request("/a?x=1"), request("/a?y=2")),
    ("path", b"", request("/a/b"), request("/a/./b")),
    ("header", b"x-user", request("/a", "X-User: u"), request("/b", "x-USER: u")),
    (
        "cookie",
        b"sid",
        request("/a", "Cookie: sid=u"),
        request("/", "Cookie: a=b; sid=u"),
    ),
    ("query", b"id", request("/?id=u"), request("/other?a=b&id=u&id=v")),
]
OTHER = [
    ("path", b"", request("/a"), request("/b")),
    ("header", b"x-user", request("/", "X-User: u"), request("/", "X-User: v")),
    ("cookie", b"sid", request("/", "Cookie: sid=u"), request("/", "Cookie: sid=v")),
    ("query", b"id", request("/?id=u"), request("/?id=v")),
]
# Without what counts; names of cookies and parameters are compared byte for byte.
LACKING = [
    ("header", b"x-user", request("/", "X-Users: u")),
    ("cookie", b"sid", request()),
    ("cookie", b"sid", request("/", "Cookie: SID=u; xsid=u; sid")),
    ("query", b"id", request("/")),
    ("query", b"id", request("/?ID=u&xid=u&id")),
]


@pytest.mark.parametrize(("kind", "name", "one", "two"), SAME)
def test_what_is_the_same_goes_to_one_place(
    kind: str, name: bytes, one: bytes, two: bytes
) -> None:
    placed = key(one, kind=kind, name=name)

    assert placed == key(two, kind=kind, name=name, peer=b"198.51.100.1")
    assert placed != OF_THE_CLIENT


@pytest.mark.parametrize(("kind", "name", "one", "two"), OTHER)
def test_what_differs_goes_anywhere(
    kind: str, name: bytes, one: bytes, two: bytes
) -> None:
    assert key(one, kind=kind, name=name) != key(two, kind=kind, name=name)


@pytest.mark.parametrize(("kind", "name", "data"), LACKING)
def test_a_request_without_it_is_placed_by_its_client(
    kind: str, name: bytes, data: bytes
) -> None:
    assert key(data, kind=kind, name=name) == OF_THE_CLIENT


def test_of_an_ipv6_client_the_64_counts() -> None:
    one = key(request(), peer=b"2001:db8:0:1::1")

    assert key(request(), peer=b"2001:db8:0:1:ffff::2") == one
    assert key(request(), peer=b"2001:db8:0:2::1") != one
    assert key(request(), peer=b"::ffff:192.0.2.1") == OF_THE_CLIENT


def test_behind_a_trusted_proxy_it_is_the_client_that_counts() -> None:
    forwarded = request("/", "X-Forwarded-For: 192.0.2.1, 10.9.9.9")

    assert key(forwarded, peer=b"10.0.0.1", trusted=True) == OF_THE_CLIENT
    assert key(forwarded, peer=b"10.0.0.1") == key(request(), peer=b"10.0.0.1")


def test_a_peer_without_an_address_has_a_place_too() -> None:
    assert key(request(), peer=b"unix:") == key(request("/b"), peer=b"unix:")
    assert key(request(), peer=b"unix:") != OF_THE_CLIENT
