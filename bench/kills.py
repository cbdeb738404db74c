"""Kill workers under load and count what it costs.

    python bench/kills.py [--kills 50] [--workers 2] [--clients 32] [--json]

A process of its own holds three origins and the clients; every request carries a
nonce. This one starts the gateway (least connections) and sends SIGKILL to one
worker after another. It prints, and exits with 1 when a bound is not kept:

  lost       requests whose connection ended before their answer did
  on victims connections that the victims had at their last report; what was in
             flight on them is the bound of `lost`
  refused    connections that could not be made at all: must be 0
  wrong      answers that belonged to another request: must be 0
  respawn    from SIGKILL until the slot has a live worker that is ready
  gauges     from the load's end until every endpoint's in-flight count is zero:
             must be within a second
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.gateway import Gateway, is_alive
from support.load import Load
from support.rig import Rig
from support.waiting import eventually


def clients_and_origins(pipe: Connection, clients: int) -> None:
    """Run origins and clients: what the other process does.

    Sends the origins' addresses and is sent the gateway's; then answers each
    `served` with a count, and `stop` with the whole account.
    """
    rig = Rig()
    origins = [rig.origin() for _ in range(3)]
    pipe.send([origin.address for origin in origins])
    with Load(pipe.recv(), threads=clients) as load:
        while pipe.recv() == "served":
            pipe.send(load.served)
    pipe.send(
        {
            "served": load.served,
            "lost": load.lost,
            "refused": load.refused,
            "wrong": len(load.wrong),
        }
    )
    pipe.recv()
    rig.close()


def served(pipe: Connection) -> int:
    pipe.send("served")
    return pipe.recv()


def ready_pids(gateway: Gateway) -> list[int]:
    status = gateway.status_or_none()
    if status is None:
        return []
    return [
        worker["pid"]
        for worker in status["workers"]
        if worker["state"] == "ready" and is_alive(worker["pid"])
    ]


def kill_one(gateway: Gateway, slot: int, workers: int) -> tuple[float, int]:
    """SIGKILL the worker of `slot` and wait for its successor.

    Returns the milliseconds that took, and how many connections the victim had.
    """
    victim = gateway.workers()[slot]
    os.kill(victim["pid"], signal.SIGKILL)
    start = time.monotonic()

    def is_replaced() -> bool:
        pids = ready_pids(gateway)
        return victim["pid"] not in pids and len(pids) == workers

    eventually(is_replaced, within_s=10)
    return (time.monotonic() - start) * 1000, victim.get("connections", 0)


def run(kills: int, workers: int, clients: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    load = context.Process(target=clients_and_origins, args=(other, clients))
    load.start()
    rig = Rig()
    try:
        gateway = rig.gateway(
            *pipe.recv(), workers=workers, upstream={"balance": "least-connections"}
        )
        pipe.send(gateway.address)
        eventually(lambda: served(pipe) > clients * 5, within_s=20)
        respawns: list[float] = []
        on_victims = 0
        for n in range(kills):
            respawn_ms, connections = kill_one(gateway, n % workers, workers)
            respawns.append(respawn_ms)
            on_victims += connections
            mark = served(pipe)
            eventually(lambda mark=mark: served(pipe) > mark + clients, within_s=10)
        pipe.send("stop")
        account = pipe.recv()
        start = time.monotonic()
        eventually(lambda: not any(gateway.in_flight().values()), within_s=10)
        settled_ms = (time.monotonic() - start) * 1000
        pipe.send("done")
    finally:
        load.join(10)
        load.kill()
        rig.close()
    respawns.sort()
    return {
        "kills": kills,
        **account,
        "on_victims": on_victims,
        "respawn_p50_ms": round(statistics.median(respawns), 1),
        "respawn_p99_ms": round(respawns[int((len(respawns) - 1) * 0.99)], 1),
        "respawn_max_ms": round(respawns[-1], 1),
        "gauges_true_after_ms": round(settled_ms, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run(options.kills, options.workers, options.clients)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:22} {value}")
    is_good = (
        result["refused"] == 0
        and result["wrong"] == 0
        and result["gauges_true_after_ms"] <= 1000
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
