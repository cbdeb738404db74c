"""Kill workers under load and count what it costs.

    python bench/kills.py [--kills 50] [--workers 2] [--clients 32]

Starts a gateway over three endpoints (least connections), keeps every client
busy with requests that carry a nonce, and sends SIGKILL to one worker after
another. Prints, and with --json as one object:

  lost       requests whose connection ended before their answer did, per kill;
             the floor is what was in flight on the victim
  refused    connections that could not be made at all
  wrong      answers that belonged to another request
  respawn    time until the slot has a new live worker: p50, p99, max
  gauges     whether every endpoint's in-flight count was zero within one second
             of the load's end
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.gateway import Gateway, is_alive
from support.load import Load
from support.rig import Rig
from support.waiting import eventually


def respawned(gateway: Gateway, victim: int, count: int) -> bool:
    status = gateway.status_or_none()
    if status is None:
        return False
    pids = [worker["pid"] for worker in status["workers"] if worker["pid"]]
    return victim not in pids and sum(map(is_alive, pids)) == count


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def run(kills: int, workers: int, clients: int) -> dict[str, object]:
    rig = Rig()
    try:
        origins = [rig.origin() for _ in range(3)]
        gateway = rig.gateway(
            *origins, workers=workers, upstream={"balance": "least-connections"}
        )
        respawns: list[float] = []
        with Load(gateway.address, threads=clients) as load:
            eventually(lambda: load.served > clients * 5, within_s=20)
            for n in range(kills):
                victim = gateway.worker_pids()[n % workers]
                os.kill(victim, signal.SIGKILL)
                start = time.monotonic()
                eventually(
                    lambda victim=victim: respawned(gateway, victim, workers),
                    within_s=10,
                )
                respawns.append((time.monotonic() - start) * 1000)
                mark = load.served
                eventually(lambda mark=mark: load.served > mark + clients, within_s=10)
        start = time.monotonic()
        eventually(lambda: not any(gateway.in_flight().values()), within_s=10)
        settled_ms = (time.monotonic() - start) * 1000
        return {
            "kills": kills,
            "served": load.served,
            "lost": load.lost,
            "lost_per_kill": round(load.lost / kills, 2),
            "refused": load.refused,
            "wrong": len(load.wrong),
            "respawn_p50_ms": round(statistics.median(respawns), 1),
            "respawn_p99_ms": round(percentile(respawns, 0.99), 1),
            "respawn_max_ms": round(max(respawns), 1),
            "gauges_true_after_ms": round(settled_ms, 1),
        }
    finally:
        rig.close()


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
