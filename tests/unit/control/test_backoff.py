from fastgate.control.backoff import Backoff


def always_most():
    return 1.0


def test_the_first_replacement_is_immediate_then_delays_double_up_to_5_s():
    backoff = Backoff(always_most)

    delays = [backoff.next_delay_s(0.0, was_killed=False) for _ in range(9)]

    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_ten_healthy_seconds_are_forgiveness():
    backoff = Backoff(always_most)
    for _ in range(5):
        backoff.next_delay_s(0.0, was_killed=False)

    assert backoff.next_delay_s(9.9, was_killed=False) > 0
    assert backoff.next_delay_s(10.0, was_killed=False) == 0


def test_jitter_takes_any_part_of_the_delay():
    backoff = Backoff(lambda: 0.25)
    backoff.next_delay_s(0.0, was_killed=False)

    assert backoff.next_delay_s(0.0, was_killed=False) == 0.025


def test_a_worker_killed_by_others_did_not_crash():
    backoff = Backoff(always_most)

    assert [backoff.next_delay_s(0.5, was_killed=True) for _ in range(50)] == [0.0] * 50


def test_a_slot_whose_workers_are_killed_is_filled_ten_times_a_second_at_most():
    backoff = Backoff(always_most)
    delays = [backoff.next_delay_s(0.0625, was_killed=True) for _ in range(50)]

    assert delays == [0.1 - 0.0625] * 50


def test_a_worker_killed_before_it_was_ready_counts_as_a_crash():
    backoff = Backoff(always_most)
    backoff.next_delay_s(0.0, was_killed=True)

    assert backoff.next_delay_s(0.0, was_killed=True) == 0.1


def test_a_million_deaths_do_not_overflow():
    backoff = Backoff(always_most)
    backoff._deaths = 1_000_000

    assert backoff.next_delay_s(0.0, was_killed=False) == 5.0
