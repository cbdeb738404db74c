import os

import base_probe as probe


def test_the_generator_gives_the_published_sequence():
    generator = probe.Random([1, 2, 3, 4])

    # The vector that the Rust crate rand_xoshiro checks against the authors' C.
    assert [generator.next() for _ in range(10)] == [
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
        9973669472204895162,
        14011001112246962877,
        12406186145184390807,
        15849039046786891736,
        10450023813501588000,
    ]


def test_an_id_is_the_next_128_bits_in_hex_the_lowest_digit_first():
    for seed in range(100):
        state = [seed + 1, 2**63 + seed, 3, 4]
        drawn = probe.Random(state)
        written = f"{drawn.next():016x}"[::-1] + f"{drawn.next():016x}"[::-1]

        assert probe.Random(state).id() == (written.encode(), 0)


def test_two_generators_seeded_by_the_kernel_differ():
    streams = {tuple(g.next() for _ in range(4)) for g in map(make, range(64))}

    assert len(streams) == 64


def make(_: int):
    return probe.Random()


def test_generators_seeded_after_a_fork_differ():
    reading, writing = os.pipe()
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os.write(writing, probe.Random().next().to_bytes(8, "big"))
            os._exit(0)
        os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        drawn = pipe.read()

    assert len({drawn[i : i + 8] for i in range(0, 32, 8)}) == 4
