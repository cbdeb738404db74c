"""The master with real forks, over the fake core."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from fastgate.control.channel import BadMessageError, Kind, Message
from fastgate.control.slot import Child, word_of


def test_it_is_ready_when_all_workers_are_and_leaves_with_0_on_term(tiny):
    gateway = tiny().wait_ready()
    workers = gateway.children()
    answer = gateway.tell("pid")
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0
    assert answer in workers
    assert len(workers) == 2


def test_its_processes_have_names(tiny):
    gateway = tiny().wait_ready()

    names = [Path(f"/proc/{p}/comm").read_text().strip() for p in gateway.session()]

    assert sorted(names) == ["fastgate-m", "fastgate-w0", "fastgate-w1"]


def test_a_killed_worker_is_replaced_and_its_leases_are_given_back(tiny, gone):
    gateway = tiny({"workers": 1}).wait_ready()
    connection = gateway.connect()
    victim = gateway.say(connection, "hold")
    os.kill(victim, signal.SIGKILL)
    gateway.wait_for(r"ended by SIGKILL; 1 leases given back")
    gateway.wait_for(r"worker 0 \(pid \d+\) is ready")

    # The successor answers: the connection waited in the queue that the master kept.
    assert gateway.tell("pid") not in (victim, None)
    connection.close()


def test_a_worker_killed_again_and_again_is_always_replaced_at_once(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    start_s = time.monotonic()

    lives = set()
    for _ in range(20):
        with gateway.connect() as connection:
            lives.add(victim := gateway.say(connection, "pid"))
            os.kill(victim, signal.SIGKILL)

    assert len(lives) == 20
    # A backoff would have grown to 5 s by then.
    assert time.monotonic() - start_s < 10


def test_a_worker_whose_engine_fails_is_replaced(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    assert gateway.tell("raise") is None
    gateway.wait_for(r"worker 0: RuntimeError: the fake engine was told to fail")
    gateway.wait_for(r"worker 0 \(pid \d+\) left with 1")

    assert gateway.tell("pid") is not None
    assert "Traceback" not in gateway.seen


def test_a_crash_loop_is_slowed_down(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    for _ in range(4):
        assert gateway.tell("crash") is None

    found = gateway.wait_for(r"worker 0 starts again in ([\d.]+) s")
    assert float(found[1]) <= 0.1


def test_a_stuck_worker_dumps_its_stack_and_is_replaced(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    connection = gateway.connect()
    connection.sendall(b"hang")
    gateway.wait_for(r"worker 0 \(pid \d+\) is stuck for \d+\.\d s: aborted")
    gateway.wait_for(r"fake_core.py.*in _read")
    gateway.wait_for(r"ended by SIGABRT")

    assert gateway.tell("pid") is not None
    connection.close()


def test_a_stopped_worker_is_killed_and_replaced(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    victim = gateway.tell("pid")
    os.kill(victim, signal.SIGSTOP)
    gateway.wait_for(r"is stuck for \d+\.\d s: aborted")
    gateway.wait_for(r"does not leave: killed")
    gateway.wait_for(r"ended by SIGKILL")

    assert gateway.tell("pid") not in (victim, None)


def test_workers_that_cannot_boot_stop_the_master_with_3(tiny):
    gateway = tiny(environment={"FAKE_CORE": "boot"})

    assert gateway.wait_exit() == 3
    assert "RuntimeError: the fake core was told to fail" in gateway.seen
    assert "workers cannot start: giving up" in gateway.seen
    assert "Traceback" not in gateway.seen


def test_workers_killed_before_they_are_ready_stop_the_master_after_3(tiny):
    gateway = tiny({"workers": 1}, environment={"FAKE_CORE": "die"})

    assert gateway.wait_exit() == 3
    assert len(re.findall("ended by SIGKILL", gateway.seen)) == 3


def test_workers_that_can_no_longer_boot_stop_the_master_with_3(tiny, tmp_path):
    allowed = tmp_path / "allowed"
    allowed.touch()
    gateway = tiny({"workers": 1}, environment={"FAKE_CORE": f"unless {allowed}"})
    victim = gateway.wait_ready().tell("pid")
    allowed.unlink()
    os.kill(victim, signal.SIGKILL)

    assert gateway.wait_exit() == 3
    assert len(re.findall("left with 97", gateway.seen)) == 3


def test_what_the_core_has_no_room_for_is_told(tiny):
    gateway = tiny(environment={"FAKE_CORE": "room"})

    assert gateway.wait_exit() == 3
    assert "fastgate: the fake core has no room" in gateway.seen
    assert "Traceback" not in gateway.seen


def test_a_worker_that_sends_nonsense_is_killed_and_replaced(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    victim = gateway.tell("junk")
    gateway.wait_for(r"worker 0 \(pid \d+\) is not itself: 4 bytes")
    gateway.wait_for(r"ended by SIGKILL")

    assert gateway.tell("pid") not in (victim, None)


def test_a_term_while_it_starts_is_obeyed(tiny):
    gateway = tiny()
    gateway.wait_for("listening on")
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0


def test_new_clients_are_refused_while_it_drains(tiny):
    gateway = tiny({"workers": 2}).wait_ready()
    connection = gateway.connect()
    gateway.say(connection, "hold")
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("stopping: draining")
    deadline = time.monotonic() + 20
    is_refused = False
    while not is_refused and time.monotonic() < deadline:
        try:
            gateway.connect().close()
        except (ConnectionRefusedError, ConnectionResetError):
            is_refused = True

    assert is_refused
    assert gateway.say(connection, "pid") is not None
    connection.close()
    assert gateway.wait_exit() == 0


def test_term_lets_an_exchange_finish(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    connection = gateway.connect()
    worker = gateway.say(connection, "hold")
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("stopping: draining for at most 5 s")
    still_served = gateway.say(connection, "pid")
    connection.close()

    assert gateway.wait_exit() == 0
    assert still_served == worker
    assert "served, none cut" in gateway.seen


def test_an_exchange_that_outlasts_the_drain_is_cut(tiny):
    gateway = tiny({"workers": 1, "drain": "100ms"}).wait_ready()
    connection = gateway.connect()
    gateway.say(connection, "hold")
    gateway.signal(signal.SIGQUIT)

    assert gateway.wait_exit() == 0
    assert "cut 1 exchanges that outlasted the drain" in gateway.seen
    assert connection.recv(1) == b""
    connection.close()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_second_signal_stops_at_once(tiny, second):
    gateway = tiny({"workers": 1, "drain": "1h"}).wait_ready()
    connection = gateway.connect()
    gateway.say(connection, "hold")
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("stopping: draining")
    gateway.signal(second)
    gateway.wait_for("stopping at once")

    assert gateway.wait_exit() == 0
    connection.close()


def test_a_ctrl_c_that_reaches_the_whole_group_stops_at_once_and_quietly(tiny):
    gateway = tiny().wait_ready()
    os.killpg(gateway.process.pid, signal.SIGINT)

    assert gateway.wait_exit() == 0
    assert "stopping at once" in gateway.seen
    assert "error" not in gateway.seen


def test_a_term_that_reaches_the_whole_group_is_one_term(tiny):
    gateway = tiny({"workers": 1}).wait_ready()
    connection = gateway.connect()
    worker = gateway.say(connection, "hold")
    os.killpg(gateway.process.pid, signal.SIGTERM)
    gateway.wait_for("stopping: draining")

    assert gateway.say(connection, "pid") == worker
    connection.close()
    assert gateway.wait_exit() == 0
    assert "at once" not in gateway.seen


def test_a_stopped_worker_cannot_hold_up_a_stop(tiny):
    gateway = tiny({"workers": 1, "drain": "100ms"}).wait_ready()
    os.kill(gateway.tell("pid"), signal.SIGSTOP)
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0
    assert "does not leave: killed" in gateway.seen


def test_usr2_says_that_it_cannot_and_changes_nothing(tiny):
    gateway = tiny().wait_ready()
    before = gateway.children()
    gateway.signal(signal.SIGUSR2)
    gateway.wait_for("upgrade is not available in this release: restart it")

    assert gateway.children() == before
    assert gateway.tell("pid") in before


def test_a_gateway_that_has_nothing_to_read_again_serves_on(tiny):
    gateway = tiny().wait_ready()
    before = gateway.children()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reload: this gateway has no configuration that could be read")
    gateway.wait_for("reload refused: generation 1 serves on")

    assert gateway.children() == before


def test_workers_of_a_killed_master_finish_and_leave(tiny, gone):
    gateway = tiny({"workers": 2}).wait_ready()
    workers = gateway.children()
    connection = gateway.connect()
    busy = gateway.say(connection, "hold")
    gateway.signal(signal.SIGKILL)
    gateway.wait_for("the master is gone; draining")
    (idle,) = set(workers) - {busy}
    gone(idle)

    assert gateway.say(connection, "pid") == busy
    connection.close()
    gone(busy)


def test_the_steward_of_a_killed_master_leaves(tiny, tmp_path, gone):
    gateway = tiny({"admin_socket": str(tmp_path / "admin")}).wait_ready()
    children = gateway.children()
    gateway.signal(signal.SIGKILL)

    assert len(children) == 3
    for child in children:
        gone(child)


def test_usr1_makes_all_processes_write_to_new_files(tiny, tmp_path):
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    gateway = tiny(
        {
            "workers": 1,
            "access_log": str(access),
            "access_log_flush": "10ms",
            "error_log": str(error),
        }
    )
    wait_in(error, "ready, 1 worker")
    gateway.port = int(re.search(r"127.0.0.1:(\d+)", error.read_text())[1])
    gateway.tell("before")
    wait_in(access, "before")
    access.rename(tmp_path / "access.1")
    error.rename(tmp_path / "error.1")
    gateway.signal(signal.SIGUSR1)
    wait_in(error, "logs reopened")
    wait_in(access, "")
    # The worker takes the logs in its own time: only a later line shows it.
    told = 0
    while "after" not in access.read_text():
        told += 1
        gateway.tell("after")
    victim = gateway.tell("raise")

    assert victim is None
    wait_in(error, "worker 0: RuntimeError")
    assert "before" in (tmp_path / "access.1").read_text()
    assert "before" not in access.read_text()


def test_a_disk_that_stalls_as_logs_are_reopened_holds_up_no_master(tiny):
    gateway = tiny({"workers": 1}, environment={"FAKE_DISK": "hang"}).wait_ready()
    (worker,) = gateway.children()
    gateway.signal(signal.SIGUSR1)
    gateway.wait_for("opening")
    os.kill(worker, signal.SIGKILL)
    gateway.wait_for(r"worker 0 \(pid \d+\) is ready")
    port = gateway.port
    gateway.signal(signal.SIGTERM)

    assert gateway.process.wait(20) == 0
    # The child that hangs still keeps no port from a successor.
    socket.create_server(("127.0.0.1", port), reuse_port=False).close()


def test_an_opener_of_logs_that_is_killed_is_told(tiny):
    gateway = tiny({"workers": 1}, environment={"FAKE_DISK": "hang"}).wait_ready()
    (worker,) = gateway.children()
    gateway.signal(signal.SIGUSR1)
    gateway.wait_for("opening")
    (opener,) = set(gateway.children()) - {worker}
    os.kill(opener, signal.SIGKILL)

    gateway.wait_for("logs not reopened")
    gateway.signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0


def wait_in(path, text):
    """Wait until a file exists and holds a text."""
    deadline = time.monotonic() + 20
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, f"no {text!r} in {path.name}"
        os.sched_yield()


def test_a_second_master_with_the_same_pid_file_does_not_start(tiny, tmp_path):
    pid_file = tmp_path / "pid"
    first = tiny({"pid_file": str(pid_file)}).wait_ready()
    second = tiny({"pid_file": str(pid_file)})

    assert second.wait_exit() == 3
    assert f"another master is running (pid {first.process.pid})" in second.seen
    assert pid_file.read_text() == f"{first.process.pid}\n"
    first.signal(signal.SIGTERM)
    first.wait_exit()
    assert not pid_file.exists()


def test_the_pid_file_of_a_killed_master_is_replaced(tiny, tmp_path, gone):
    pid_file = tmp_path / "pid"
    first = tiny({"pid_file": str(pid_file)}).wait_ready()
    children = first.children()
    first.signal(signal.SIGKILL)
    for child in children:
        gone(child)
    second = tiny({"pid_file": str(pid_file)}).wait_ready()

    assert pid_file.read_text() == f"{second.process.pid}\n"


def test_a_taken_port_is_told_and_the_exit_code_is_3(tiny):
    first = tiny().wait_ready()
    second = tiny(listeners={"main": {"address": f"127.0.0.1:{first.port}"}})

    assert second.wait_exit() == 3
    expected = f"cannot listen on 127.0.0.1:{first.port}: address already in use"
    assert expected in second.seen


def test_unix_sockets_are_removed_at_the_end(tiny, tmp_path):
    listener, admin = tmp_path / "http", tmp_path / "admin"
    gateway = tiny(
        {"admin_socket": str(admin)},
        listeners={
            "main": {"address": "127.0.0.1:0"},
            "local": {"address": f"unix:{listener}"},
        },
    ).wait_ready()
    modes = [oct(path.stat().st_mode & 0o777) for path in (listener, admin)]
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0
    assert modes == ["0o666", "0o600"]
    assert not listener.exists()
    assert not admin.exists()


def test_pinned_workers_have_one_cpu_each(tiny):
    gateway = tiny({"pin": True}).wait_ready()

    cpus = sorted(os.sched_getaffinity(0))
    expected = [{cpus[slot % len(cpus)]} for slot in range(2)]
    assert [os.sched_getaffinity(p) for p in gateway.children()] == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_workers_give_up_roots_rights(tiny):
    gateway = tiny({"user": "nobody"}).wait_ready()

    status = Path(f"/proc/{gateway.children()[0]}/status").read_text()
    assert re.search(r"Uid:\t65534\t65534\t65534\t65534", status)
    assert re.search(r"Groups:\t *\n", status)
    assert "NoNewPrivs:\t1" in status
    assert re.search(r"CapEff:\t0+\n", status)


def test_children_hold_nothing_of_their_siblings(tiny):
    gateway = tiny({"workers": 2}).wait_ready()
    sockets = [
        {
            os.readlink(f"/proc/{pid}/fd/{fd}")
            for fd in os.listdir(f"/proc/{pid}/fd")
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
        }
        for pid in gateway.children()
    ]

    assert sockets[0].isdisjoint(sockets[1])


def test_it_says_at_last_what_was_served_and_cut(tiny):
    gateway = tiny({"workers": 2, "drain": "100ms"}).wait_ready()
    connection = gateway.connect()
    gateway.say(connection, "hold")
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0
    # Of the fake core each worker says that it served 7.
    last = gateway.seen.splitlines()[-1]
    assert re.fullmatch(r"fastgate: stopped after \d+ s: 14 requests .*, 1 cut", last)
    connection.close()


def test_what_a_killed_worker_held_at_a_stop_counts_as_cut(tiny):
    gateway = tiny({"workers": 1, "drain": "100ms"}).wait_ready()
    connection = gateway.connect()
    os.kill(gateway.say(connection, "hold"), signal.SIGSTOP)
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0
    assert "does not leave: killed" in gateway.seen
    assert "7 requests served, 1 cut" in gateway.seen
    connection.close()


def test_a_unix_listener_is_gone_when_listening_stops_not_at_the_end(tiny, tmp_path):
    path = tmp_path / "http"
    gateway = tiny(
        {"workers": 1, "drain": "1h"},
        listeners={
            "main": {"address": "127.0.0.1:0"},
            "local": {"address": f"unix:{path}"},
        },
    ).wait_ready()
    connection = gateway.connect()
    gateway.say(connection, "hold")
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("stopping: draining")
    wait_until(lambda: not path.exists())
    # A successor may take the path now, and keeps it when this one ends.
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        gateway.signal(signal.SIGTERM)

        assert gateway.wait_exit() == 0
        assert path.exists()
    connection.close()


def wait_until(fact):
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_term_while_a_name_is_resolved_is_obeyed_and_nothing_was_bound(tiny):
    gateway = tiny(
        environment={"FAKE_RESOLVER": "hang"},
        listeners={"main": {"address": "name.invalid:0"}},
    )
    gateway.wait_for("resolving")
    gateway.signal(signal.SIGTERM)

    assert gateway.wait_exit() == 0
    assert "listening" not in gateway.seen
    assert "stopped before names were resolved" in gateway.seen


def test_a_name_that_turns_out_to_be_a_listener_of_ours_is_refused(tiny):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gateway = tiny(
        listeners={"main": {"address": f"127.0.0.1:{port}"}},
        upstreams={"main": {"endpoints": [f"localhost:{port}"]}},
    )

    assert gateway.wait_exit() == 3
    assert (
        f"upstream main: 'localhost:{port}' is this gateway's own listener 'main'"
        in gateway.seen
    )


def test_a_child_that_speaks_out_of_turn_is_told_in_words(tiny):
    child = Child(4711, FakeChannel(Message(Kind.DRAIN, 5)))

    with pytest.raises(BadMessageError) as caught:
        word_of(child)
    assert str(caught.value) == "it said DRAIN at the wrong time"


class FakeChannel:
    def __init__(self, message):
        self.message = message

    def receive(self):
        return self.message
