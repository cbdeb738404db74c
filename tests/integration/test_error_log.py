"""What the error log says of traffic."""

from __future__ import annotations

import pytest
from support import addresses
from support.lab import OK
from support.origin import once
from support.rig import Rig

SAID = r"warning: endpoint (\S+) \(upstream main\) "


def test_a_failed_upstream_is_told_with_endpoint_fault_and_request(rig: Rig) -> None:
    origin = rig.origin(once(b"", end="reset"))
    gateway = rig.gateway(origin, retries=0, eject="off")
    assert gateway.fetch("POST", "/pay?n=1", {}, b"x").status == 502

    (found,) = gateway.stderr.wait_for(
        SAID + r'failed, upstream-reset.* for "POST /pay\?n=1 HTTP/1.1"$'
    )
    assert found[1] == origin.address


def test_an_answer_that_breaks_a_rule_is_told_with_rule_and_offset(rig: Rig) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"
    gateway = rig.gateway(rig.origin(once(answer)), retries=0, eject="off")
    assert gateway.fetch().status == 502

    (found,) = gateway.stderr.wait_for(
        SAID + r"failed, upstream-bad-response: (.+), at byte (\d+) of its head for"
    )
    assert "ontent-" in found[2]
    assert 17 <= int(found[3]) < len(answer)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            b"HTTP/1.1 102 Wait\r\n\r\n" * 101 + OK,
            "upstream-bad-response: more than 100 interim answers",
        ),
        (
            b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "upstream-bad-response: a 101 that nobody asked for",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "upstream-cut: Invalid character in chunk size for",
        ),
    ],
)
def test_an_answer_that_is_whole_and_yet_not_good_is_told_with_its_rule(
    answer: bytes, told: str, rig: Rig
) -> None:
    gateway = rig.gateway(rig.origin(once(answer)), retries=0, eject="off")
    assert gateway.fetch().status == 502

    gateway.stderr.wait_for(SAID + "failed, " + told)


def test_many_alike_are_not_all_told_at_once(rig: Rig) -> None:
    gateway = rig.gateway(addresses.unused(), retries=0, eject="off")
    client = rig.client(gateway)
    for _ in range(40):
        assert client.ask("GET", "/").status == 503
    gateway.stderr.wait_for(SAID + "failed, upstream-connect", count=3)
    assert gateway.stop() == 0
    told = [line for line in gateway.stderr.lines if "upstream-connect" in line]

    # And at the end how many more there were.
    assert len(told) == 4
    assert told[3].endswith(" (36 more like this held back)")


def test_an_endpoint_that_is_ejected_and_comes_back_is_told(rig: Rig) -> None:
    gateway = rig.gateway(addresses.unused(), retries=0, eject="2/300ms", workers=1)
    client = rig.client(gateway)
    for _ in range(2):
        assert client.ask("GET", "/").status == 503

    gateway.stderr.wait_for(SAID + "is ejected")
    gateway.stderr.wait_for(SAID + "is asked again")


def test_a_worker_that_leaves_tells_what_it_has_noted(rig: Rig) -> None:
    gateway = rig.gateway(addresses.unused(), retries=0, eject="off")
    assert gateway.fetch().status == 503

    assert gateway.stop() == 0
    gateway.stderr.wait_for(SAID + "failed, upstream-connect")


def test_a_refused_method_is_told_with_listener_fault_and_setting(rig: Rig) -> None:
    listeners = {
        "web": {"address": "127.0.0.1:0", "refused_methods": ["DELETE", "FOO"]},
        "internal": {"address": "127.0.0.1:0"},
    }
    gateway = rig.gateway(
        rig.origin(),
        listeners=listeners,
        access_log="stdout",
        access_log_format="json",
        access_log_flush="50ms",
    )
    web, internal = (gateway.listeners[name][0] for name in listeners)
    said = r"warning: listener web: refused, method-refused \(refused_methods\), for "

    assert rig.client(web).ask("DELETE", "/x").status == 405
    gateway.stderr.wait_for(said + '"DELETE /x HTTP/1.1"$')
    assert rig.client(web).ask("FOO", "/x").status == 405
    gateway.stderr.wait_for(said + '"FOO"$')
    assert rig.client(internal).ask("DELETE", "/x").status == 200
    assert rig.client(internal).ask("FOO", "/x").status == 501
    logged = r'"status":405,.*"reason":"method-refused"'
    gateway.stdout.wait_for(logged, count=2)
    gateway.stdout.wait_for(r'"status":501,.*"reason":"method-unknown"')


def test_an_ambiguous_path_is_told_with_both_its_routes(rig: Rig) -> None:
    routes = [
        {"name": name, "match": {"path_prefix": f"/{name}"}, "upstream": "main"}
        for name in ("public", "admin")
    ]
    gateway = rig.gateway(rig.origin(), routes=routes)
    said = r"warning: refused, ambiguous-path: "
    assert gateway.fetch("GET", "/public/..%2fadmin?x").status == 400
    gateway.stderr.wait_for(
        said + "one way to read it takes route public, another route admin,"
        r' for "GET /public/\.\.%2fadmin\?x HTTP/1\.1"$'
    )
    assert gateway.fetch("GET", "/admin/..%2fx").status == 400
    gateway.stderr.wait_for(said + ".* takes route admin, another no route,")


def test_a_path_refused_by_setting_is_told_too(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(), ambiguous_paths="reject")
    assert gateway.fetch("GET", "/a;b").status == 400

    gateway.stderr.wait_for(
        r'refused, ambiguous-path: it can be read in several ways, for "GET /a;b'
    )
