"""Names are asked for in a child, and a stop does not wait for the answer."""

import os
import signal
import socket
import threading
import time

import pytest

from fastgate.config.address import Address
from fastgate.control import resolve
from fastgate.control.resolve import Names, Resolved, StoppedError
from fastgate.control.signals import SignalQueue

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)


@pytest.fixture
def signals():
    queue = SignalQueue()
    yield queue
    queue.close()


def children():
    pid = os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        return listed.read().split()


def test_addresses_need_no_child(signals, monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    addresses = [Address("127.0.0.1", 80), Address("::1", 80), Address("", 0, "/run/x")]

    assert resolve.resolve(addresses, signals) == {
        "127.0.0.1": Resolved(((INET, "127.0.0.1"),)),
        "::1": Resolved(((INET6, "::1"),)),
    }


def test_names_are_resolved_in_a_child_that_is_gone_afterwards(signals, monkeypatch):
    def ask(host):
        assert os.getpid() != ours
        if host == "bad":
            return Resolved((), "Name or service not known")
        return Resolved(((INET, "192.0.2.1"), (INET6, "2001:db8::1")))

    ours = os.getpid()
    monkeypatch.setattr(resolve, "ask", ask)
    found = resolve.resolve([Address("good", 1), Address("bad", 2)], signals)

    assert found == {
        "good": Resolved(((INET, "192.0.2.1"), (INET6, "2001:db8::1"))),
        "bad": Resolved((), "Name or service not known"),
    }
    assert children() == []


def test_names_are_asked_for_side_by_side(signals, monkeypatch):
    everybody = threading.Barrier(8)

    def ask(host):
        everybody.wait(20)
        return Resolved((), host)

    monkeypatch.setattr(resolve, "ask", ask)
    hosts = [f"h{n}" for n in range(8)]
    found = resolve.resolve([Address(host, 1) for host in hosts], signals)

    assert [found[host].why for host in hosts] == hosts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_stop_does_not_wait_for_a_resolver_that_hangs(signals, monkeypatch, number):
    def hang(_host):
        os.kill(os.getppid(), number)
        signal.pause()

    monkeypatch.setattr(resolve, "ask", hang)
    start_s = time.monotonic()

    with pytest.raises(StoppedError):
        resolve.resolve([Address("slow", 1)], signals)
    assert time.monotonic() - start_s < 10
    assert children() == []


def test_other_signals_do_not_stop_it(signals, monkeypatch):
    def ask(_host):
        os.kill(os.getppid(), signal.SIGHUP)
        return Resolved((), "asked")

    monkeypatch.setattr(resolve, "ask", ask)

    assert resolve.resolve([Address("name", 1)], signals)["name"].why == "asked"


def test_a_child_that_is_killed_leaves_its_names_unresolved(signals, monkeypatch):
    monkeypatch.setattr(resolve, "ask", lambda _: os.kill(os.getpid(), signal.SIGKILL))

    found = resolve.resolve([Address("name", 1)], signals)
    assert found["name"] == Resolved((), "the process that asked for it was ended")


def test_a_name_that_dns_cannot_hold_is_told():
    assert Names()["a" * 64].why == "it is no name that DNS could hold"
