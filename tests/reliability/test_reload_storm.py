"""Reload after reload under load: nobody notices.

The short size runs with the tests, the full one by FASTGATE_RELIABILITY=full. Every
client stamps a nonce that the origin echoes; `lost` are connections that were closed
under a request.
"""

from __future__ import annotations

import copy
import os
import random
import time

import pytest
from support.load import Load
from support.rig import Rig

SEED = int(os.environ.get("FASTGATE_SEED", "7"))
FULL = os.environ.get("FASTGATE_RELIABILITY") == "full"
RELOADS, SECONDS = (20, 12.0) if FULL else (5, 3.0)
CLIENTS = 16


@pytest.mark.slow
def test_reloads_under_keep_alive_clients_lose_and_cut_nothing(rig: Rig) -> None:
    chance = random.Random(SEED)
    gateway = rig.gateway(rig.origin(), workers=2, drain="10s")
    config = gateway.config
    assert config is not None
    with Load(gateway.address, threads=CLIENTS, reuse=1 << 30) as load:
        begun_s = time.monotonic()
        for number in range(RELOADS):
            due_s = begun_s + SECONDS * (number + chance.random()) / RELOADS
            time.sleep(max(0.0, due_s - time.monotonic()))
            changed = copy.deepcopy(config)
            changed["routes"][0]["request_headers"] = {"set": {"X-Round": str(number)}}
            gateway.configure(changed)
            status, lines = gateway.reload()
            assert status == 200, lines
        served = load.served
        elapsed_s = time.monotonic() - begun_s

    print(f"seed {SEED}: {served} answers in {elapsed_s:.1f} s, {RELOADS} reloads")
    assert (load.lost, load.refused, load.wrong) == (0, 0, [])
    assert served > CLIENTS * RELOADS
