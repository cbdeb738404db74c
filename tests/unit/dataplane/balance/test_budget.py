import balance_probe as probe
import pytest


def test_a_quiet_worker_has_ten_retries_and_three_more_a_second():
    budget = probe.Budget()

    assert [budget.take(20, 60_000) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not budget.take(20, 60_300)
    assert budget.take(20, 60_334)
    assert [budget.take(20, 9_999_999) for _ in range(12)] == [True] * 10 + [False] * 2


def test_asking_often_does_not_lose_the_fractions_of_the_minimum():
    budget = probe.Budget()
    for _ in range(10):
        budget.take(20, 60_000)

    taken = sum(budget.take(20, 60_000 + ms) for ms in range(1, 10_001))

    assert taken == 30


def test_retries_are_no_more_than_their_share_of_the_requests():
    budget = probe.Budget()
    taken = 0
    for _ in range(10_000):
        budget.note_request(20)
        taken += budget.take(20, 1_000)

    assert 2_000 <= taken <= 2_003


@pytest.mark.parametrize("each_ms", [1, 10, 100, 1_000])
def test_the_minimum_is_no_addition_to_the_share(each_ms):
    budget = probe.Budget()
    requests = 60_000 // each_ms
    taken = 0
    for n in range(requests):
        budget.note_request(20)
        taken += budget.take(20, 60_000 + n * each_ms)

    # Of the first there are ten saved up.
    share, minimum = requests // 5, min(3 * 60, requests)
    assert max(share, minimum) <= taken <= max(share, minimum) + 11


def test_savings_are_capped():
    budget = probe.Budget()
    for _ in range(1_000_000):
        budget.note_request(100)

    assert sum(budget.take(100, 1_000) for _ in range(1_000)) == 100


def test_zero_percent_means_no_retry_at_all():
    budget = probe.Budget()
    for _ in range(100):
        budget.note_request(0)

    assert not budget.take(0, 1_000_000)


def test_a_clock_that_steps_back_gives_nothing():
    budget = probe.Budget()
    for _ in range(10):
        budget.take(20, 60_000)

    assert not budget.take(20, 1)
    assert not budget.take(20, -(1 << 62))
