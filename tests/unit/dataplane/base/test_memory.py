"""Slabs and byte queues."""

from __future__ import annotations

import memory_probe as probe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# Slabs.


def test_an_object_is_found_by_its_name_until_it_is_given_back() -> None:
    slab = probe.Slab()
    index, generation, _ = slab.take(7)
    assert slab.find(index, generation) == 7

    slab.give(index, generation)

    assert slab.find(index, generation) is None
    assert slab.live == 0


def test_a_place_is_used_again_under_another_name() -> None:
    slab = probe.Slab()
    index, generation, place = slab.take(1)
    slab.give(index, generation)

    again = slab.take(2)

    assert again[0] == index
    assert again[1] != generation
    assert again[2] == place
    assert slab.find(index, generation) is None


def test_an_index_that_was_never_made_finds_nobody() -> None:
    slab = probe.Slab()

    assert slab.find(0, 0) is None
    assert slab.find(0xFFFFFFFF, 0) is None


@given(st.lists(st.integers(0, 400), max_size=600))
@settings(max_examples=50, deadline=None)
def test_live_objects_never_share_a_place(steps: list[int]) -> None:
    slab = probe.Slab()
    live: dict[tuple[int, int], tuple[int, int]] = {}
    for value, step in enumerate(steps):
        if step % 3 == 0 and live:
            name = sorted(live)[step % len(live)]
            slab.give(*name)
            del live[name]
        else:
            index, generation, place = slab.take(value)
            assert place % 64 == 0
            live[index, generation] = (value, place)

        assert slab.live == len(live)
        assert len({place for _, place in live.values()}) == len(live)
    for name, (value, _) in live.items():
        assert slab.find(*name) == value


def test_a_slab_grows_by_chunks_and_keeps_its_objects_in_place() -> None:
    slab = probe.Slab()
    names = [slab.take(value) for value in range(5 * probe.CHUNK + 1)]

    found = [slab.find(index, generation) for index, generation, _ in names]

    assert found == list(range(5 * probe.CHUNK + 1))


# Byte queues.


@given(
    st.lists(
        st.one_of(st.binary(max_size=3000), st.floats(0, 1)),
        max_size=60,
    )
)
@settings(deadline=None)
def test_a_queue_gives_back_what_it_was_given(steps: list[bytes | float]) -> None:
    queue = probe.Bytes()
    model = b""
    for step in steps:
        if isinstance(step, bytes):
            queue.append(step)
            model += step
        else:
            n = int(step * len(model))
            queue.eat(n)
            model = model[n:]

        assert queue.content == model


def test_an_empty_queue_owns_no_memory() -> None:
    queue = probe.Bytes()
    queue.append(b"x" * 10_000)

    queue.eat(10_000)

    assert queue.size == 0


def test_a_queue_that_is_eaten_as_it_fills_does_not_grow() -> None:
    queue = probe.Bytes()
    queue.append(b"x" * 400)
    for _ in range(1000):
        queue.append(b"y" * 50)
        queue.eat(50)

    assert queue.size <= 1024


@pytest.mark.parametrize("n", [0x80000000, 0xFFFFFFFF, 0x100000000, (1 << 64) - 1])
def test_a_queue_refuses_more_than_its_lengths_can_say(n: int) -> None:
    queue = probe.Bytes()
    queue.append(b"kept")

    assert not queue.can_reserve(n)
    assert queue.content == b"kept"
