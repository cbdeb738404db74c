import os
import signal
import time

import balance_probe as probe
import pytest
from fastgate.dataplane.shared.slots import GAUGES, TOTALS
from support.regions import region_of

# Of a row, what is no count: whose it is, and since when.
IDENTITY = ["heartbeat_ms", "pid", "generation", "state", "started_ms"]
IDENTITY += ["members_seen"]

# --- rows


def test_a_new_region_has_empty_rows_and_endpoints_that_are_up():
    region = region_of(3, 5)

    assert (region.workers, region.endpoints) == (3, 5)
    assert [region.worker(i)["state"] for i in range(3)] == ["empty"] * 3
    assert region.worker(0)["pid"] == 0
    assert region.endpoint(4) == {
        "state": "up",
        "admin": "enabled",
        "health": "unchecked",
        "since_ms": 0,
        "weight": 1,
        "in_flight": 0,
        "total": 0,
        "failures": 0,
        "connects": 0,
        "latency_us": 0,
        "skipped_ms": 0,
    }


@pytest.mark.parametrize("index", [-1, 4, 1 << 20, -(1 << 31)])
def test_an_index_from_python_is_checked_everywhere(index):
    region = region_of(4, 4)

    for call in (
        lambda: region.begin_worker(index, 1, 1),
        lambda: region.set_worker_state(index, "ready"),
        lambda: region.heartbeat(index),
        lambda: region.heartbeat_age_ms(index),
        lambda: region.reclaim_worker(index),
        lambda: region.worker(index),
        lambda: region.endpoint(index),
        lambda: region.set_endpoint(index, weight=1),
        lambda: region.set_admin(index, "enabled"),
        lambda: region.set_health(index, "down"),
    ):
        with pytest.raises(IndexError):
            call()


def test_beginning_a_worker_fills_its_row():
    region = region_of(2, 1)
    region.begin_worker(1, 4711, 3)
    row = region.worker(1)

    assert (row["pid"], row["generation"], row["state"]) == (4711, 3, "booting")
    assert row["heartbeat_age_ms"] < 60_000
    assert region.worker(0)["pid"] == 0


def test_a_child_that_is_ready_before_its_master_looks_stays_ready():
    region = region_of(1, 1)
    for generation in (1, 2):
        region.set_worker_state(0, "ready")
        region.begin_worker(0, 100 + generation, generation)

        assert region.worker(0)["state"] == "ready"
        region.reclaim_worker(0)
        assert region.worker(0)["state"] == "dead"


def test_a_row_is_not_given_to_a_second_process_before_it_is_reclaimed():
    region = region_of(1, 1)
    region.begin_worker(0, 100, 1)
    region.begin_worker(0, 100, 1)

    with pytest.raises(ValueError, match="belongs to process 100"):
        region.begin_worker(0, 101, 2)
    region.reclaim_worker(0)
    region.begin_worker(0, 101, 2)

    assert region.worker(0)["state"] == "booting"


@pytest.mark.parametrize("pid", [0, -1])
def test_a_row_needs_a_process(pid):
    with pytest.raises(ValueError, match="no process"):
        region_of(1, 1).begin_worker(0, pid, 1)


@pytest.mark.parametrize("state", ["booting", "ready", "draining", "dead"])
def test_a_worker_state_reads_back(state):
    region = region_of(1, 1)
    region.set_worker_state(0, state)

    assert region.worker(0)["state"] == state


@pytest.mark.parametrize("state", ["empty", "READY", "", "up"])
def test_an_unknown_worker_state_is_refused(state):
    with pytest.raises(ValueError, match="worker state"):
        region_of(1, 1).set_worker_state(0, state)


def test_a_heartbeat_makes_the_row_young_again():
    region = region_of(1, 1)
    before = region.heartbeat_age_ms(0)  # never beaten: the machine's own age
    region.heartbeat(0)

    assert region.heartbeat_age_ms(0) < before
    assert region.heartbeat_age_ms(0) < 60_000


# --- leases


def test_a_lease_is_seen_until_it_is_settled():
    region = region_of(2, 2)
    probe.lease(region, 0, 1)
    probe.lease(region, 1, 1)

    assert region.endpoint(1)["in_flight"] == 2
    assert region.endpoint(0)["in_flight"] == 0
    probe.settle(region, 0, 1)
    probe.settle(region, 1, 1, True)
    assert region.endpoint(1) | {"in_flight": 0} == region.endpoint(1)
    assert region.endpoint(1)["total"] == 2
    assert region.endpoint(1)["failures"] == 1


@pytest.mark.parametrize("workers", [1, 16, 17, 256])
def test_the_load_is_the_sum_over_all_workers(workers):
    region = region_of(workers, 3)
    for worker in range(workers):
        for _ in range(worker % 3 + 1):
            probe.lease(region, worker, 1)

    assert probe.in_flight(region, 1) == sum(w % 3 + 1 for w in range(workers))
    assert probe.in_flight(region, 0) == probe.in_flight(region, 2) == 0


def test_reclaiming_gives_back_exactly_what_the_dead_worker_held():
    region = region_of(3, 4)
    for worker in range(3):
        for endpoint in range(4):
            for _ in range(worker + endpoint):
                probe.lease(region, worker, endpoint)

    assert region.reclaim_worker(1) == sum(1 + endpoint for endpoint in range(4))
    assert [region.endpoint(e)["in_flight"] for e in range(4)] == [
        0 + e + 2 + e for e in range(4)
    ]
    assert region.reclaim_worker(1) == 0


def test_every_count_in_a_row_has_one_name_and_that_is_its_field():
    region = region_of(2, 1)
    fields = probe.number_row(region, 1)
    row = region.worker(1)
    counts = [*GAUGES, *TOTALS, "statuses"]

    assert sorted([*counts, *IDENTITY, "_reserved"]) == sorted(fields)
    assert {name: row[name] for name in counts} == {n: fields[n] for n in counts}


def test_reclaiming_clears_gauges_and_keeps_totals_over_the_respawn():
    region = region_of(2, 1)
    probe.lease(region, 0, 0)
    probe.number_row(region, 0)
    before = region.worker(0)
    region.reclaim_worker(0)
    dead = region.worker(0)
    region.begin_worker(0, 101, 2)
    after = region.worker(0)

    for row in (dead, after):
        assert {name: row[name] for name in GAUGES} == dict.fromkeys(GAUGES, 0)
        for total in (*TOTALS, "statuses"):
            assert row[total] == before[total]
    assert dead["state"] == "dead"
    assert region.endpoint(0)["total"] == 1


def test_no_count_sticks_when_workers_are_killed_in_the_middle_of_a_lease():
    region = region_of(2, 3)
    probe.lease(region, 0, 2)
    last_total = 0
    for _ in range(8):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"x")
            while True:
                for endpoint in (0, 1, 2, 2):
                    probe.lease(region, 1, endpoint)
                for endpoint in (2, 1, 2, 0):
                    probe.settle(region, 1, endpoint)
        os.read(reading, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
        held = sum(region.endpoint(e)["in_flight"] for e in range(3)) - 1

        assert region.reclaim_worker(1) == held
        assert [region.endpoint(e)["in_flight"] for e in range(3)] == [0, 0, 1]
        total = region.endpoint(0)["total"]
        assert total >= last_total
        last_total = total


# --- endpoints


STATES = {
    ("enabled", "unchecked"): "up",
    ("enabled", "up"): "up",
    ("enabled", "down"): "down",
    ("enabled", "waiting"): "down",
    ("draining", "unchecked"): "draining",
    ("draining", "up"): "draining",
    ("draining", "down"): "down",
    ("draining", "waiting"): "down",
    ("disabled", "unchecked"): "down",
    ("disabled", "up"): "down",
    ("disabled", "down"): "down",
}


def layers(region, index=0):
    row = region.endpoint(index)
    return row["admin"], row["health"], row["state"]


@pytest.mark.parametrize(("admin", "health"), STATES)
def test_the_state_follows_from_admin_and_health_in_whichever_order(admin, health):
    region = region_of(1, 2)
    region.set_admin(0, admin)
    region.set_health(0, health)
    region.set_health(1, health)
    region.set_admin(1, admin)

    expected = (admin, health, STATES[admin, health])
    assert layers(region, 0) == layers(region, 1) == expected


def test_weight_and_state_leave_each_other_alone():
    region = region_of(1, 2)
    region.set_endpoint(1, weight=256)
    region.set_health(1, "down")
    region.set_endpoint(0, weight=2)

    assert layers(region, 1) == ("enabled", "down", "down")
    assert layers(region, 0) == ("enabled", "unchecked", "up")
    assert [region.endpoint(e)["weight"] for e in range(2)] == [2, 256]


@pytest.mark.parametrize(
    "change",
    [
        lambda region: region.set_endpoint(0, weight=0),
        lambda region: region.set_endpoint(0, weight=257),
        lambda region: region.set_health(0, "UP"),
        lambda region: region.set_health(0, "draining"),
        lambda region: region.set_admin(0, "up"),
        lambda region: region.set_admin(0, ""),
    ],
)
def test_a_wrong_word_or_weight_changes_nothing(change):
    region = region_of(1, 1)
    region.set_admin(0, "draining")
    before = region.endpoint(0)

    with pytest.raises(ValueError, match=r"admin|health|weight"):
        change(region)
    assert region.endpoint(0) == before


def test_since_is_when_the_state_last_became_up():
    region = region_of(1, 1)
    region.set_health(0, "up")
    assert region.endpoint(0)["since_ms"] == 0  # it was up before

    region.set_health(0, "down")
    assert region.endpoint(0)["since_ms"] == 0
    before_ms = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
    region.set_health(0, "up")
    since_ms = region.endpoint(0)["since_ms"]
    assert before_ms <= since_ms < before_ms + 10_000

    region.set_health(0, "unchecked")
    assert region.endpoint(0)["since_ms"] == since_ms


def test_an_endpoint_that_is_enabled_again_is_up_since_then():
    region = region_of(1, 1)
    region.set_admin(0, "draining")
    region.set_admin(0, "disabled")
    assert region.endpoint(0)["since_ms"] == 0
    region.set_admin(0, "enabled")
    assert region.endpoint(0)["since_ms"] > 0


def test_a_layer_that_holds_no_known_word_takes_no_traffic():
    region = region_of(1, 2)
    probe.vandalise_layers(region, 0, 99, 0)
    region.set_health(0, "up")
    probe.vandalise_layers(region, 1, 0, -7)
    region.set_admin(1, "enabled")

    assert layers(region, 0) == ("invalid", "up", "down")
    assert layers(region, 1) == ("enabled", "invalid", "down")


def test_a_state_that_was_not_written_any_more_is_put_right_by_the_same_word():
    region = region_of(1, 1)
    probe.vandalise_layers(region, 0, 0, 2)  # killed before it wrote the state
    assert layers(region) == ("enabled", "down", "up")

    region.set_health(0, "down")
    assert layers(region) == ("enabled", "down", "down")


def test_a_passive_mark_shows_how_long_it_lasts():
    region = region_of(1, 1)
    probe.mark(region, 0, (1 << 62))

    assert region.endpoint(0)["skipped_ms"] > 1 << 60
    probe.mark(region, 0, 1)
    assert region.endpoint(0)["skipped_ms"] == 0


def test_a_vandalised_slot_can_still_be_read():
    region = region_of(2, 2)
    probe.vandalise(region, 0, -(1 << 31), -(1 << 63))

    assert region.endpoint(0)["in_flight"] == -(1 << 32)
    assert region.endpoint(1)["in_flight"] == 0
    assert region.reclaim_worker(0) == 0
