import itertools
import math
from collections import Counter
from fractions import Fraction

import balance_probe as probe
import pytest
from base_probe import hash_bytes
from fastgate.dataplane.balance.policies import POLICIES
from fastgate.dataplane.shared.slots import Region
from hypothesis import given, settings
from hypothesis import strategies as st
from support import regions

NO_ENDPOINT = probe.NO_ENDPOINT
NO_ROOM = probe.NO_ROOM
FOREVER = (1 << 63) - 1
M64 = (1 << 64) - 1


def region_of(*weights: int, workers: int = 2) -> Region:
    region = regions.region_of(workers, len(weights))
    for index, weight in enumerate(weights):
        region.set_endpoint(index, weight=weight)
    return region


def load(region: Region, *loads: int) -> None:
    """Put requests in flight, dealt out over the workers in turn."""
    for endpoint, count in enumerate(loads):
        for turn in range(count):
            probe.lease(region, turn % region.workers, endpoint)


def draws(n: int, seed: int = 1) -> list[int]:
    return [hash_bytes(i.to_bytes(8, "little"), seed) for i in range(n)]


def chi_square(counts: Counter, expected: dict[int, float]) -> float:
    assert set(counts) <= {key for key, value in expected.items() if value}
    return sum(
        (counts[key] - value) ** 2 / value for key, value in expected.items() if value
    )


def critical(degrees: int) -> float:
    """Chi-square's 99.99 % quantile (Wilson and Hilferty 1931); seeds are fixed."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 3.72 * math.sqrt(spread)) ** 3


# --- what all policies share


@pytest.mark.parametrize("policy", POLICIES)
def test_only_usable_endpoints_are_chosen(policy):
    region = region_of(1, 1, 1, 1, 1, 1)
    region.set_health(0, "down")
    region.set_admin(1, "draining")
    probe.mark(region, 2, 1000)
    group = probe.Group(policy, range(6), bound_percent=0)

    picked = {
        group.pick(region, key=d, draw=d, now_ms=999, tried=[3]) for d in draws(500)
    }

    assert picked == {4, 5}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_mark_ends_on_its_millisecond(policy):
    region = region_of(1, 1)
    probe.mark(region, 0, 1000)
    group = probe.Group(policy, range(2))
    keys = draws(100)

    assert {group.pick(region, key=d, draw=d, now_ms=999) for d in keys} == {1}
    assert {group.pick(region, key=d, draw=d, now_ms=1000) for d in keys} == {0, 1}


@pytest.mark.parametrize("policy", POLICIES)
def test_if_all_are_marked_the_marks_are_ignored(policy):
    region = region_of(1, 1, 1, 1)
    region.set_health(3, "down")
    for endpoint in range(4):
        probe.mark(region, endpoint, FOREVER)
    group = probe.Group(policy, range(4))

    picked = {group.pick(region, key=d, draw=d, tried=[1]) for d in draws(200)}

    assert picked == {0, 2}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_marked_endpoint_is_taken_rather_than_one_already_tried(policy):
    region = region_of(1, 1)
    probe.mark(region, 1, FOREVER)
    group = probe.Group(policy, range(2))

    assert group.pick(region, tried=[0]) == 1
    assert group.pick(region, tried=[0, 1]) == NO_ENDPOINT


@pytest.mark.parametrize("policy", POLICIES)
def test_without_a_usable_endpoint_nothing_is_chosen(policy):
    region = region_of(1, 1)
    region.set_health(0, "down")
    region.set_admin(1, "draining")

    assert probe.Group(policy, range(2)).pick(region) == NO_ENDPOINT
    assert probe.Group(policy, []).pick(region) == NO_ENDPOINT


@pytest.mark.parametrize("policy", POLICIES)
def test_members_are_indexes_into_the_region_not_positions(policy):
    region = region_of(*[1] * 20)
    group = probe.Group(policy, [17, 3])

    picked = {group.pick(region, key=d, draw=d) for d in draws(100)}

    assert picked == {3, 17}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_thousand_members_are_all_reachable(policy):
    region = region_of(*[1] * 1024)
    group = probe.Group(policy, range(1024))

    picks = Counter(group.pick_keys(region, 20_000, 1))

    assert len(picks) == 1024


def shares(group: probe.Group, region: Region, now_ms: int, n: int = 4000) -> Counter:
    return Counter(group.pick(region, key=d, draw=d, now_ms=now_ms) for d in draws(n))


# least-time shares out waiting, not turns: among idle ones the heaviest has them all.
BY_SHARE = [policy for policy in POLICIES if policy != "least-time"]


@pytest.mark.parametrize("policy", BY_SHARE)
@pytest.mark.parametrize(
    ("elapsed_ms", "of_its_weight"),
    [(-5, 0.1), (0, 0.1), (15_000, 0.55), (29_999, 0.94), (30_000, 1), (1 << 40, 1)],
)
def test_an_endpoint_that_came_up_grows_into_its_share(
    policy, elapsed_ms, of_its_weight
):
    region = region_of(10, 10)
    probe.set_since(region, 1, 50_000)
    group = probe.Group(policy, range(2), slow_start_ms=30_000)

    counts = shares(group, region, 50_000 + elapsed_ms)

    assert counts[1] / 4000 == pytest.approx(
        of_its_weight / (1 + of_its_weight), abs=0.04
    )


@pytest.mark.parametrize(("in_flight", "picked"), [(8, 0), (11, 1)])
def test_least_time_asks_one_that_came_up_when_a_tenth_of_its_weight_is_enough(
    in_flight, picked
):
    region = region_of(10, 10)
    load(region, in_flight, 0)
    probe.set_since(region, 1, 50_000)
    group = probe.Group("least-time", range(2), slow_start_ms=30_000)

    assert group.pick(region, now_ms=50_000) == picked


@pytest.mark.parametrize("policy", BY_SHARE)
def test_an_endpoint_of_weight_one_gets_something_at_once(policy):
    region = region_of(1, 1)
    probe.set_since(region, 1, 50_000)
    group = probe.Group(policy, range(2), slow_start_ms=30_000)

    assert 0 < shares(group, region, 50_000)[1] / 4000 < 0.17


@pytest.mark.parametrize("policy", POLICIES)
def test_endpoints_that_came_up_together_share_alike(policy):
    region = region_of(1, 1)
    probe.set_since(region, 0, 50_000)
    probe.set_since(region, 1, 50_000)
    group = probe.Group(policy, range(2), slow_start_ms=30_000)

    assert shares(group, region, 50_000)[0] / 4000 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("since_ms", "slow_start_ms"), [(50_000, 0), (0, 30_000)])
def test_without_slow_start_or_up_from_the_beginning_the_share_is_whole(
    policy, since_ms, slow_start_ms
):
    region = region_of(1, 1)
    probe.set_since(region, 1, since_ms)
    group = probe.Group(policy, range(2), slow_start_ms=slow_start_ms)

    assert shares(group, region, 50_000)[1] / 4000 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("policy", BY_SHARE)
@pytest.mark.parametrize("value", [-(1 << 63), -1, (1 << 63) - 1])
def test_a_vandalised_time_of_coming_up_leaves_every_member_reachable(policy, value):
    region = region_of(256, 256)
    probe.set_since(region, 0, value)
    group = probe.Group(policy, range(2), slow_start_ms=3_600_000)

    assert set(shares(group, region, 50_000)) == {0, 1}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("value", [-1, -(1 << 31), (1 << 31) - 1, 0])
@pytest.mark.parametrize("value64", [-(1 << 63), (1 << 63) - 1, 0])
def test_vandalised_shared_memory_never_leads_outside_the_group(policy, value, value64):
    region = region_of(1, 1, 1, workers=40)
    probe.vandalise(region, 0, value, value64)
    probe.vandalise(region, 2, value, value64)
    group = probe.Group(policy, [0, 1], bound_percent=125)

    assert set(group.pick_keys(region, 200, 3)) <= {0, 1}


@pytest.mark.parametrize(("n", "bound"), [(-1, 0), (65537, 0), (1, 99), (1, 10001)])
def test_an_impossible_group_is_refused(n, bound):
    with pytest.raises(ValueError, match=r"members|bound_percent"):
        probe.raw_group("hash", n, bound)


@pytest.mark.parametrize("name", ["", "HASH", "hash "])
def test_a_policy_has_exactly_its_name(name):
    with pytest.raises(ValueError, match=r"^balance: "):
        probe.raw_group(name, 1, 0)


def test_freeing_a_group_twice_is_harmless():
    assert probe.group_is_free_after_two_frees()


# --- room


@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_member_is_never_chosen(policy):
    region = region_of(1, 5, 1)
    group = probe.Group(policy, range(3))
    group.set_full(1)

    assert {group.pick(region, key=d, draw=d) for d in draws(500)} == {0, 2}


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_left_is_found_behind_any_number_of_full_members(policy):
    region = regions.region_of(1, 500)
    group = probe.Group(policy, range(500))
    for i in range(499):
        group.set_full(i)

    assert {group.pick(region, key=d, draw=d) for d in draws(50)} == {499}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_group_is_told_from_one_without_endpoints(policy):
    region = region_of(1, 1)
    group = probe.Group(policy, range(2))
    group.set_full(0)
    group.set_full(1)

    assert group.pick(region) == NO_ROOM
    assert group.pick(region, tried=[0]) == NO_ROOM
    assert group.pick(region, tried=[0, 1]) == NO_ENDPOINT
    group.set_full(1, False)
    assert group.pick(region) == 1
    assert group.pick(region, tried=[1]) == NO_ROOM


@pytest.mark.parametrize("policy", POLICIES)
def test_waiting_for_a_sound_endpoint_beats_asking_a_marked_one(policy):
    region = region_of(1, 1)
    group = probe.Group(policy, range(2))
    probe.mark(region, 0, FOREVER)
    group.set_full(1)

    assert group.pick(region) == NO_ROOM
    probe.mark(region, 1, FOREVER)
    assert group.pick(region) == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_group_of_any_size_is_refused_by_one_look(policy):
    assert probe.pages_looked_at(policy, 10) == 1
    assert probe.pages_looked_at(policy, 1000) == 1
    assert probe.pages_looked_at(policy, 65536) == 1


# --- round robin


def turns(group, region, n: int, **choice) -> list[int]:
    return [group.pick(region, **choice) for _ in range(n)]


def longest_run(picks: list[int]) -> int:
    return max(len(list(run)) for _, run in itertools.groupby(picks))


@pytest.mark.parametrize("seed", range(20))
def test_weights_5_1_1_never_send_more_than_three_in_a_row(seed):
    region = region_of(5, 1, 1)
    group = probe.Group("round-robin", range(3), seed=seed)

    picks = turns(group, region, 700)

    assert Counter(picks) == {0: 500, 1: 100, 2: 100}
    assert longest_run(picks) <= 3


@pytest.mark.parametrize("seed", range(5))
def test_equal_weights_are_a_plain_rotation(seed):
    region = region_of(*[7] * 9)
    group = probe.Group("round-robin", range(9), seed=seed)

    picks = turns(group, region, 90)

    assert picks == [(picks[0] + i) % 9 for i in range(90)]


def test_the_seed_decides_where_the_rotation_begins():
    region = region_of(*[1] * 8)

    begins = {
        probe.Group("round-robin", range(8), seed=seed).pick(region)
        for seed in range(100)
    }

    assert begins == set(range(8))


@given(
    st.lists(st.integers(1, 256), min_size=1, max_size=12),
    st.integers(0, M64),
)
def test_one_cycle_gives_each_exactly_its_weight(weights, seed):
    region = region_of(*weights)
    group = probe.Group("round-robin", range(len(weights)), seed=seed)
    cycle = sum(weights)

    for _ in range(3):
        assert Counter(turns(group, region, cycle)) == dict(enumerate(weights))


@given(st.lists(st.integers(1, 20), min_size=2, max_size=8), st.integers(0, M64))
def test_turns_stay_as_close_to_the_shares_as_even_grids_allow(weights, seed):
    region = region_of(*weights)
    group = probe.Group("round-robin", range(len(weights)), seed=seed)
    picks = turns(group, region, 2 * sum(weights))

    for member, weight in enumerate(weights):
        taken = Fraction(0)
        off = []
        for turn, pick in enumerate(picks, 1):
            taken += pick == member
            off.append(taken - Fraction(turn * weight, sum(weights)))
        # A grid of even places gives any stretch of time its share to within one
        # turn: that is one for the member's own grid, and as many as there are
        # grids (one a weight) for the turns that the stretch holds altogether.
        grids = len(set(weights))
        assert max(off) - min(off) < 1 + Fraction(grids * weight, sum(weights))


def test_shares_stay_exact_when_the_clock_wraps():
    region = region_of(3, 2, 1)
    group = probe.Group("round-robin", range(3), seed=5)
    turns(group, region, 7)
    group.turn_clock((1 << 64) - (3 << 56))  # three cycles before it wraps
    turns(group, region, 6)

    for _ in range(10):
        assert Counter(turns(group, region, 6)) == {0: 3, 1: 2, 2: 1}


@pytest.mark.parametrize("absent", [1, 7, 100, 6 * 128 + 3, 6 * 200, 6 * 256])
def test_a_returning_member_gets_no_burst_and_does_not_wait(absent):
    region = region_of(2, 2, 2, 1)
    group = probe.Group("round-robin", range(4), seed=3)
    turns(group, region, 5)
    region.set_health(0, "down")
    assert 0 not in turns(group, region, absent)
    region.set_health(0, "up")

    picks = turns(group, region, 70)

    assert longest_run(picks) <= 2
    # In any seven turns it has its two, give or take one at the seam.
    assert all(1 <= picks[i : i + 7].count(0) <= 3 for i in range(63))


def test_a_tried_member_loses_its_turn_not_its_share():
    region = region_of(1, 1, 1)
    group = probe.Group("round-robin", range(3))
    first = group.pick(region)
    again = group.pick(region, tried=[first])

    assert again != first
    assert Counter(turns(group, region, 300)) == {0: 100, 1: 100, 2: 100}


def test_a_new_weight_holds_from_the_next_pick():
    region = region_of(1, 1)
    group = probe.Group("round-robin", range(2))
    turns(group, region, 11)
    region.set_endpoint(0, weight=9)

    counts = Counter(turns(group, region, 100))

    assert abs(counts[0] - 90) <= 1


def test_weights_that_change_at_every_pick_starve_nobody():
    region = region_of(1, 1, 1, 1)
    group = probe.Group("round-robin", range(4), seed=9)
    counts = Counter()
    for turn in range(4000):
        region.set_endpoint(3, weight=turn % 2 + 1)
        counts[group.pick(region)] += 1

    assert min(counts.values()) > 600


# --- least connections


def test_least_connections_sees_the_load_of_all_workers():
    region = region_of(1, 1, 1, workers=40)
    load(region, 40, 39, 40)
    group = probe.Group("least-connections", range(3))

    assert {group.pick(region, draw=d) for d in draws(50)} == {1}


@pytest.mark.parametrize(
    ("weights", "loads", "best"),
    [
        ((1, 3), (1, 2), 1),  # 1 against 2/3
        ((1, 3), (1, 4), 0),  # 1 against 4/3
        ((256, 255), (256, 255), {0, 1}),
        ((256, 255), (255, 254), 1),  # 0.99609 against 0.99608
        ((2, 1), (0, 0), {0, 1}),
    ],
)
def test_loads_are_compared_exactly_per_weight(weights, loads, best):
    region = region_of(*weights)
    load(region, *loads)
    group = probe.Group("least-connections", range(2))

    picked = {group.pick(region, draw=d) for d in draws(100)}

    assert picked == (best if isinstance(best, set) else {best})


@pytest.mark.parametrize("policy", ["least-connections", "least-time"])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_ties_are_drawn_uniformly(policy, n):
    region = region_of(*[1] * (n + 1))
    load(region, *[2] * n, 3)
    group = probe.Group(policy, range(n + 1))

    counts = Counter(group.pick(region, draw=d) for d in draws(10_000))

    assert chi_square(counts, dict.fromkeys(range(n), 10_000 / n)) < critical(n - 1)


def test_an_idle_group_is_drawn_by_weight():
    weights = (1, 2, 5, 8)
    region = region_of(*weights)
    group = probe.Group("least-connections", range(4))

    counts = Counter(group.pick_keys(region, 16_000, 7))

    expected = {i: 1000.0 * weight for i, weight in enumerate(weights)}
    assert chi_square(counts, expected) < critical(3)


@given(
    st.lists(
        st.tuples(st.integers(1, 256), st.integers(0, 40)), min_size=1, max_size=10
    ),
    st.integers(0, M64),
)
def test_nobody_is_ever_less_loaded_than_the_one_chosen(members, draw):
    region = region_of(*[weight for weight, _ in members])
    load(region, *[count for _, count in members])
    group = probe.Group("least-connections", range(len(members)))

    weight, count = members[group.pick(region, draw=draw)]

    assert Fraction(count, weight) == min(Fraction(c, w) for w, c in members)


# --- random two


def test_random_two_never_keeps_the_most_loaded():
    region = region_of(1, 1, 1, 1)
    load(region, 3, 9, 2, 3)
    group = probe.Group("random-two", range(4))

    assert 1 not in set(group.pick_keys(region, 2000, 1))


def test_random_two_draws_two_different_endpoints_uniformly():
    region = region_of(1, 1, 1, 1)
    load(region, 0, 1, 2, 3)
    group = probe.Group("random-two", range(4))

    counts = Counter(group.pick_keys(region, 12_000, 1))

    # Of the 6 pairs, the least loaded wins its 3, the next its 2, the third its 1.
    assert chi_square(counts, {0: 6000.0, 1: 4000.0, 2: 2000.0}) < critical(2)


def test_random_two_samples_by_weight():
    weights = (1, 2, 5, 8)
    region = region_of(*weights)
    group = probe.Group("random-two", range(4))

    counts = Counter(group.pick_keys(region, 16_000, 7))

    # All idle: the first of the two is kept, so the first draw's odds show.
    expected = {i: 1000.0 * weight for i, weight in enumerate(weights)}
    assert chi_square(counts, expected) < critical(3)


def test_random_two_with_one_usable_endpoint_takes_it():
    region = region_of(1, 1, 1)
    region.set_health(0, "down")
    load(region, 0, 0, 50)
    group = probe.Group("random-two", range(3))

    assert {group.pick(region, draw=d, tried=[1]) for d in draws(50)} == {2}


# --- hashing onto endpoints


@pytest.mark.parametrize("policy", ["ip-hash", "hash"])
def test_a_key_always_finds_its_endpoint(policy):
    region = region_of(*[1] * 10)
    group = probe.Group(policy, range(10))

    for key in draws(100):
        assert len({group.pick(region, key=key, draw=d) for d in draws(5)}) == 1


def test_workers_agree_whatever_order_their_members_have():
    region = region_of(*range(1, 11))
    one = probe.Group("hash", range(10), seed=1)
    other = probe.Group("hash", reversed(range(10)), seed=2)

    assert one.pick_keys(region, 2000, 1) == other.pick_keys(region, 2000, 1)


def test_keys_are_shared_out_evenly():
    region = region_of(*[1] * 10)

    counts = Counter(probe.Group("hash", range(10)).pick_keys(region, 100_000, 1))

    assert chi_square(counts, dict.fromkeys(range(10), 10_000.0)) < critical(9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 256), min_size=2, max_size=8))
def test_keys_are_shared_out_by_weight(weights):
    region = region_of(*weights)
    n = 20_000

    counts = Counter(probe.Group("hash", range(len(weights))).pick_keys(region, n, 1))

    for member, weight in enumerate(weights):
        p = weight / sum(weights)
        assert abs(counts[member] - n * p) < 5 * math.sqrt(n * p * (1 - p)) + 1


@pytest.mark.parametrize("weights", [(1,) * 10, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)])
def test_losing_one_of_ten_moves_only_its_own_keys(weights):
    region = region_of(*weights)
    group = probe.Group("hash", range(10))
    before = group.pick_keys(region, 100_000, 1)
    region.set_health(3, "down")
    after = group.pick_keys(region, 100_000, 1)

    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {3}
    assert len(moved) == before.count(3)
    assert len(moved) <= 12_000
    # They are spread over all that remain, not dumped on a neighbour.
    heirs = Counter(new for old, new in zip(before, after, strict=True) if old == 3)
    rest = sum(weights) - weights[3]
    expected = {
        i: len(moved) * weight / rest for i, weight in enumerate(weights) if i != 3
    }
    assert chi_square(heirs, expected) < critical(8)


def test_a_change_of_weight_moves_keys_only_to_or_from_that_endpoint():
    region = region_of(*[4] * 8)
    group = probe.Group("hash", range(8))
    before = group.pick_keys(region, 50_000, 1)
    region.set_endpoint(2, weight=5)
    heavier = group.pick_keys(region, 50_000, 1)

    moved = [(o, n) for o, n in zip(before, heavier, strict=True) if o != n]
    assert {new for _, new in moved} == {2}
    # From 4/32 to 5/33 of the keys.
    assert abs(len(moved) / 50_000 - (5 / 33 - 4 / 32)) < 0.005


def test_ip_hash_has_no_bound():
    region = region_of(1, 1)
    group = probe.Group("ip-hash", range(2), bound_percent=125)
    home = group.pick(region, key=42)
    load(region, *(1000 if i == home else 0 for i in range(2)))

    assert group.pick(region, key=42) == home


def preference(region, key: int, n: int) -> list[int]:
    """The order in which a key takes endpoints, by marking them tried in turn."""
    group = probe.Group("hash", range(n))
    order = []
    for _ in range(n):
        order.append(group.pick(region, key=key, tried=order))
    return order


def allowed(count: int, loads, weights, member: int, bound: int) -> bool:
    share = Fraction(bound, 100) * (sum(loads) + 1) * weights[member] / sum(weights)
    return count + 1 <= math.ceil(share)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6)), min_size=1, max_size=6),
    st.integers(100, 200),
    st.integers(0, M64),
)
def test_a_bounded_hash_takes_the_first_preference_below_its_bound(members, bound, key):
    weights = [weight for weight, _ in members]
    loads = [count for _, count in members]
    region = region_of(*weights)
    order = preference(region, key, len(members))
    load(region, *loads)
    group = probe.Group("hash", range(len(members)), bound_percent=bound)

    assert group.pick(region, key=key) == next(
        member
        for member in order
        if allowed(loads[member], loads, weights, member, bound)
    )


@pytest.mark.parametrize(
    ("loads", "stays"),
    [
        ((0, 0), True),  # 0 + 1 of ceil(0.625)
        ((1, 0), True),  # 1 + 1 of ceil(1.25)
        ((2, 0), False),  # 2 + 1 of ceil(1.875)
        ((2, 1), True),  # 2 + 1 of ceil(2.5)
        ((3, 1), True),  # 3 + 1 of ceil(3.125)
        ((4, 1), False),  # 4 + 1 of ceil(3.75)
        ((4, 2), True),  # 4 + 1 of ceil(4.375)
    ],
)
def test_the_bound_counts_the_new_request_on_both_sides(loads, stays):
    region = region_of(1, 1)
    group = probe.Group("hash", range(2), bound_percent=125)
    key = next(d for d in draws(50) if group.pick(region, key=d) == 0)
    load(region, *loads)

    assert (group.pick(region, key=key) == 0) is stays


def test_one_hot_key_never_holds_more_than_the_bound():
    region = region_of(*[1] * 10)
    group = probe.Group("hash", range(10), bound_percent=125)
    for held in range(1, 401):
        endpoint = group.pick(region, key=7)
        probe.lease(region, 0, endpoint)

        most = max(probe.in_flight(region, i) for i in range(10))
        assert most <= math.ceil(1.25 * held / 10)


def test_the_bound_counts_only_endpoints_that_can_take_the_overflow():
    region = region_of(1, 1, 1)
    load(region, 4, 4, 100)
    region.set_health(2, "down")
    group = probe.Group("hash", range(3), bound_percent=100)
    key = next(d for d in draws(50) if group.pick(region, key=d) == 0)
    probe.lease(region, 0, 0)  # 5 against 4: one more would be 6 of ceil(10 / 2)

    assert group.pick(region, key=key) == 1


# --- least time


def test_least_time_weighs_latency_with_queue_and_weight():
    region = region_of(1, 1, 4)
    for endpoint, latency_us in enumerate((1000, 3000, 9000)):
        probe.set_latency(region, endpoint, latency_us)
    group = probe.Group("least-time", range(3))

    assert group.pick(region) == 0  # 1000, 3000, 2250
    load(region, 2)
    assert group.pick(region) == 2  # 3000, 3000, 2250
    load(region, 0, 0, 1)
    assert {group.pick(region, draw=d) for d in draws(50)} == {0, 1}  # and 4500


def test_least_time_tries_a_newcomer_without_flooding_it():
    region = region_of(1, 1, 1)
    probe.set_latency(region, 0, 2000)
    probe.set_latency(region, 1, 1000)
    group = probe.Group("least-time", range(3))
    load(region, 0, 1)

    assert group.pick(region) == 2  # as good as the best, and idle
    load(region, 0, 0, 1)
    assert {group.pick(region, draw=d) for d in draws(50)} == {0, 1, 2}  # all 2000
    load(region, 0, 0, 1)
    assert 2 not in {group.pick(region, draw=d) for d in draws(50)}


def test_least_time_does_not_measure_newcomers_by_an_unusable_endpoint():
    region = region_of(1, 1, 1)
    probe.set_latency(region, 0, 1)
    region.set_health(0, "down")
    probe.set_latency(region, 1, 1000)
    group = probe.Group("least-time", range(3))
    load(region, 0, 0, 1)

    assert group.pick(region) == 1  # 1000 against 1000 * 2


def test_least_time_tries_an_endpoint_with_one_slow_sample_again():
    region = region_of(1, 1)
    probe.set_latency(region, 0, 1000, at_ms=100_000)
    probe.set_latency(region, 1, 2_000_000, at_ms=1_000)
    group = probe.Group("least-time", range(2))

    assert {group.pick(region, draw=d, now_ms=2_000) for d in draws(50)} == {0}
    assert {group.pick(region, draw=d, now_ms=100_000) for d in draws(50)} == {0, 1}


def test_least_time_does_not_flood_an_endpoint_that_was_long_unasked():
    region = region_of(1, 1)
    probe.set_latency(region, 0, 1000, at_ms=10**9)
    probe.set_latency(region, 1, 3000, at_ms=1)
    group = probe.Group("least-time", range(2))
    load(region, 0, 1)

    assert group.pick(region, now_ms=10**9) == 0


def test_a_peak_counts_at_once_and_fades_with_time_not_with_samples():
    peak = probe.latency_after(1_000_000, 900_000_000, 1)
    few = probe.latency_after(peak, 1_000_000, 4096)
    many = peak
    for _ in range(4096):
        many = probe.latency_after(many, 1_000_000, 1)

    assert peak == 900_000_000
    assert few == pytest.approx(450_500_000, rel=0.01)
    assert many == pytest.approx(few, rel=0.25)


def test_a_steady_latency_is_found_however_often_it_is_sampled():
    average = 5_000_000
    for _ in range(60_000):
        average = probe.latency_after(average, 100_000, 1)

    assert average == pytest.approx(100_000, rel=0.1)


def test_a_first_sample_is_taken_for_a_second_at_most():
    assert probe.latency_after(0, 30_000_000_000, 0) == 1_000_000_000
    assert probe.latency_after(0, 0, 0) == 1
