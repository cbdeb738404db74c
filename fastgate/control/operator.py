"""What an operator says of endpoints while they serve: checked whole, then done.

Runs in: steward.

    command    admin        weight
    drain      draining     as it is    finishes what it has, takes nothing new
    disable    disabled     as it is    takes nothing, and is checked no less
    enable     enabled      as it is    takes requests again, if it is healthy
    weight     as it is     1..256

It stands in shared memory, so it outlives a steward; and a reload, where the file names
the endpoint at the same address: a weight until the file says another than it did.
"""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from fastgate.config.address import parse_address
from fastgate.config.bounds import WEIGHT
from fastgate.config.units import BadValueError, nearest, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgate._core import Region
    from fastgate.control.events import Events

ADMIN = {"drain": "draining", "disable": "disabled", "enable": "enabled"}
MOST_ORDER_BYTES = 1 << 16


class RefusedError(Exception):
    """What was asked for cannot be; nothing was changed."""


class Order(NamedTuple):
    """One command for some endpoints of an upstream.

    endpoints  of the plan, with the `index` of their slots
    weight     for `weight` alone
    """

    command: str
    upstream: str
    endpoints: tuple[dict[str, Any], ...]
    weight: int = 0


def read_order(body: bytes, upstreams: "Sequence[dict[str, Any]]") -> Order:
    """Make an order of what came.

    body  {"command": ..., "upstream": NAME, "addresses": [...], "weight": N}
    Raises RefusedError, with what was probably meant.
    """
    if len(body) > MOST_ORDER_BYTES:
        raise RefusedError(f"more than {MOST_ORDER_BYTES} bytes")
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError("not JSON") from None
    if not isinstance(raw, dict):
        raise RefusedError("not a JSON object")
    command, name = raw.get("command"), raw.get("upstream")
    addresses, weight = raw.get("addresses"), raw.get("weight", 0)
    # A list of them, for what came may be unhashable.
    if command not in [*ADMIN, "weight"]:
        raise RefusedError(
            f"command: {show(command)} is not {', '.join(ADMIN)}, weight"
        )
    if command == "weight" and (type(weight) is not int or not 1 <= weight <= WEIGHT):
        raise RefusedError(f"weight: {show(weight)} is outside 1..{WEIGHT}")
    tables = {table["name"]: table for table in upstreams}
    if not isinstance(name, str) or name not in tables:
        raise RefusedError(f"no upstream {show(name)}{_meant(name, list(tables))}")
    if not isinstance(addresses, list) or not addresses:
        raise RefusedError("addresses: not a list of them")
    known = {one["address"]: one for one in tables[name]["endpoints"]}
    for address in addresses:
        if _canonical(address) not in known:
            hint = _meant(address, list(known))
            raise RefusedError(f"upstream {name} has no endpoint {show(address)}{hint}")
    chosen = {_canonical(address): None for address in addresses}
    return Order(command, name, tuple(known[one] for one in chosen), weight)


def carry_out(order: Order, region: "Region", events: "Events") -> list[str]:
    """Do it, and say of each endpoint what it is now."""
    lines = []
    for endpoint in order.endpoints:
        index = endpoint["index"]
        if order.command == "weight":
            what = f"of weight {order.weight}"
            region.set_endpoint(index, weight=order.weight)
        else:
            what = ADMIN[order.command]
            region.set_admin(index, what)
        events.add(order.upstream, endpoint["address"], what, "by the operator")
        now = region.endpoint(index)
        lines.append(
            f"endpoint {endpoint['address']} (upstream {order.upstream}) is {what}:"
            f" {now['state']}, {now['in_flight']} in flight"
        )
    return lines


def _canonical(address: object) -> str:
    try:
        return str(parse_address(address, listening=False))
    except (BadValueError, UnicodeError):  # a path may hold what no text can
        return ""


def _meant(word: object, words: list[str]) -> str:
    meant = nearest(word, words) if isinstance(word, str) else None
    return f"; did you mean '{meant}'?" if meant else ""
