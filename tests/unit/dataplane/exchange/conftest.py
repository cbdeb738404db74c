"""A worker between sides that are fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import exchange_probe
import pytest
from support.lab import plan_of, values_of

from fastgate._core import Region
from fastgate.control.membership import Membership

MakeGate = Callable[..., Any]


def is_settled(gate: Any) -> None:
    """Nothing is on any more, and every exchange that was has ended exactly once."""
    assert gate.complaints == []
    assert gate.exchanges == (0, 0)
    assert gate.row["ends"] == gate.row["requests"]
    assert gate.leases == [0] * len(gate.leases)
    assert gate.connections == [0] * len(gate.connections)
    assert gate.waiting == [0]
    assert all(client.step is None for client in gate.clients)
    # A timer that was left behind would find its exchange gone.
    gate.turn_clock(1_000_000)
    assert gate.complaints == []


@pytest.fixture
def make_gate() -> Iterator[MakeGate]:
    """Make a Gate of some endpoints; at the end of the test all must be settled.

    upstream, listener, settings  as with Lab
    """
    gates: list[Any] = []

    def make(endpoints: int = 1, log_fd: int = -1, **settings: Any) -> Any:
        settings.setdefault("access_log", "off" if log_fd < 0 else "stdout")
        names = [f"192.0.2.{10 + i}:80" for i in range(endpoints)]
        region = Region.create(1, endpoints)
        values = values_of(names, **settings)
        Membership(region).begin(values.upstreams)
        gates.append(exchange_probe.Gate(region, plan_of(values), log_fd))
        return gates[-1]

    yield make
    for gate in gates:
        is_settled(gate)
