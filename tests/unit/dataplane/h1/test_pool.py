"""Idle connections, and who has one to give: kept as it goes, held to a recount."""

from __future__ import annotations

import random

import pytest
from pool_probe import Pools

SIZES = [1, 3, 5]
MOST = [1, 2, 0]  # connections to an endpoint; 0: no limit
UPSTREAM = [n for n, size in enumerate(SIZES) for _ in range(size)]


class Model:
    """The same by the plainest means."""

    def __init__(self) -> None:
        self.busy: dict[int, int] = {}
        self.idle: list[list[int]] = [[] for _ in UPSTREAM]

    def full(self) -> list[bool]:
        counts = [
            sum(at == endpoint for at in self.busy.values())
            for endpoint in range(len(UPSTREAM))
        ]
        return [
            0 < MOST[upstream] <= busy and not idle
            for upstream, busy, idle in zip(UPSTREAM, counts, self.idle, strict=True)
        ]

    def n_full(self) -> list[int]:
        full = self.full()
        return [
            sum(one for one, of in zip(full, UPSTREAM, strict=True) if of == upstream)
            for upstream in range(len(SIZES))
        ]


@pytest.mark.parametrize("seed", range(8))
def test_who_has_room_is_what_a_recount_says_after_every_step(seed: int) -> None:
    dice = random.Random(seed)
    pools = Pools(SIZES, MOST, 24)
    model = Model()
    closed = list(range(pools.count))
    put_at: dict[int, int] = {}
    now_ms = 0
    for _ in range(2000):
        step = dice.choice(["open", "open", "put", "take", "close busy", "close idle"])
        endpoint = dice.randrange(len(UPSTREAM))
        if step == "open" and closed and not model.full()[endpoint]:
            number = closed.pop()
            pools.open(number, endpoint)
            model.busy[number] = endpoint
        elif step == "put" and model.busy:
            number = dice.choice(list(model.busy))
            now_ms += 1
            pools.turn_clock(1)
            pools.put(number)
            model.idle[model.busy.pop(number)].append(number)
            put_at[number] = now_ms
        elif step == "take":
            idle = model.idle[endpoint]
            number = idle.pop() if idle else None
            assert pools.take(endpoint) == number
            if number is not None:
                model.busy[number] = endpoint
        elif step == "close busy" and model.busy:
            number = dice.choice(list(model.busy))
            pools.close(number)
            del model.busy[number]
            closed.append(number)
        elif step == "close idle" and model.idle[endpoint]:
            number = dice.choice(model.idle[endpoint])
            pools.close(number)
            model.idle[endpoint].remove(number)
            closed.append(number)

        assert pools.full() == model.full()
        assert pools.n_full() == model.n_full()
        waiting = [number for idle in model.idle for number in idle]
        assert pools.oldest() == min(waiting, key=put_at.__getitem__, default=None)
