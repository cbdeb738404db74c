"""Reloads of the master with real forks, over the fake core."""

import copy
import json
import os
import signal

import pytest

from fastgate.control.channel import BadMessageError, Kind, Message
from fastgate.control.slot import Child, word_of


@pytest.fixture
def reloading(tiny, tmp_path):
    """A gateway with a file to read again, which holds what it runs with."""

    def start(gateway=None, **kwargs):
        file = tmp_path / "file"
        started = tiny(gateway, file=file, **kwargs).wait_ready()
        started.file = file
        file.write_text(json.dumps(started.config))
        return started

    return start


def configure(gateway, **settings):
    config = copy.deepcopy(gateway.config)
    config["gateway"] |= settings
    gateway.file.write_text(json.dumps(config))


def test_a_new_generation_takes_over_and_the_old_one_leaves(reloading):
    gateway = reloading()
    before = gateway.children()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reloaded: generation 2 serves, 2 workers")
    gateway.wait_for("generation 1 has left")

    assert set(before).isdisjoint(gateway.children())
    assert gateway.tell("pid") in gateway.children()


def test_an_exchange_of_the_old_generation_goes_on(reloading):
    gateway = reloading({"workers": 1})
    connection = gateway.connect()
    old = gateway.say(connection, "hold")
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reloaded: generation 2")

    assert gateway.say(connection, "pid") == old
    assert gateway.tell("pid") != old
    connection.close()
    gateway.wait_for("generation 1 has left")


def test_a_generation_whose_worker_cannot_boot_is_given_up(reloading, tmp_path):
    allowed = tmp_path / "allowed"
    allowed.touch()
    gateway = reloading(environment={"FAKE_CORE": f"unless {allowed}"})
    before = gateway.children()
    allowed.unlink()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(r"generation 2 is given up: worker \d left with 97")
    gateway.wait_for("reload refused: generation 1 serves on")
    gateway.wait_for("generation 2 has left")

    assert gateway.children() == before
    assert gateway.tell("pid") in before
    allowed.touch()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reloaded: generation 3 serves")


def test_a_generation_that_is_not_ready_in_time_is_given_up(reloading, tmp_path):
    allowed = tmp_path / "allowed"
    allowed.touch()
    gateway = reloading(environment={"FAKE_CORE": f"hang unless {allowed}"})
    before = gateway.children()
    allowed.unlink()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(
        "generation 2 is given up: not ready within 3 s: worker 0, worker 1"
    )
    gateway.wait_for("generation 2 has left")

    assert gateway.children() == before


def test_a_file_that_cannot_be_read_in_time_holds_up_nobody(reloading):
    gateway = reloading({"workers": 1}, environment={"FAKE_FILE": "hang"})
    victim = gateway.tell("pid")
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reload: checking")
    os.kill(victim, signal.SIGKILL)
    gateway.wait_for(r"worker 0 \(pid \d+\) is ready")
    gateway.wait_for("reload: it was not checked within 3 s")
    gateway.wait_for("reload refused: generation 1 serves on")


def test_a_trial_that_is_killed_refuses_the_reload(reloading):
    gateway = reloading({"workers": 1}, environment={"FAKE_FILE": "hang"})
    before = gateway.children()
    gateway.signal(signal.SIGHUP)
    while not (trials := set(gateway.children()) - set(before)):
        os.sched_yield()
    (trial,) = trials
    os.kill(trial, signal.SIGKILL)
    gateway.wait_for("the process that tried the configuration ended early")
    gateway.wait_for("reload refused")


def test_a_stop_while_a_trial_hangs_is_obeyed(reloading):
    gateway = reloading(environment={"FAKE_FILE": "hang"})
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reload: checking")
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0


def test_what_takes_a_restart_is_told_with_its_place(reloading, tmp_path):
    gateway = reloading()
    configure(gateway, pid_file=str(tmp_path / "pid"))
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(r"reload: file:1:1: pid_file: none -> '.*pid' takes a restart")


class FakeChannel:
    def __init__(self, message):
        self.message = message

    def receive(self):
        return self.message


@pytest.mark.parametrize(
    ("may_ask", "questions", "ready_s"),
    [(False, 0, 1.0), (True, 2, 1.0), (True, 0, None)],
)
def test_only_a_steward_may_ask_and_not_too_often(may_ask, questions, ready_s):
    child = Child(4711, FakeChannel(Message(Kind.RELOAD)))
    child.ready_s, child.questions = ready_s, questions

    with pytest.raises(BadMessageError, match="it said RELOAD at the wrong time"):
        word_of(child, may_ask=may_ask)
