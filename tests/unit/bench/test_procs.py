import os
import subprocess
import time

from load import procs


def test_a_process_name_with_blanks_and_parentheses_shifts_no_field() -> None:
    line = "4711 (odd) name (x) S 17 4711 4711 0 -1 4194560 5 0 0 0 321 123 0 0 20"

    fields = procs.stat_fields(line)

    assert fields[0] == "S"
    assert int(fields[procs._PPID]) == 17
    assert int(fields[procs._UTIME]) == 321
    assert int(fields[procs._STIME]) == 123


def test_a_tree_holds_children_of_children() -> None:
    script = "sleep 60 & echo $!; read line; kill $!"
    with subprocess.Popen(
        ["sh", "-c", f"({script}); :"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as shell:
        assert shell.stdout is not None
        grandchild = int(shell.stdout.readline())

        found = procs.tree(shell.pid)

        shell.communicate("\n")
    assert found[0] == shell.pid
    assert grandchild in found
    assert os.getpid() not in found


def test_both_clocks_see_the_same_work() -> None:
    before = procs.spent([os.getpid()])
    end_s = time.process_time() + 0.2
    while time.process_time() < end_s:
        pass

    cost = procs.spent([os.getpid()]) - before

    # Half of it is enough to tell seconds from ticks; ticks are 10 ms apart.
    assert 0.1 < cost.on_cpu_s < 2
    assert 0.1 < cost.user_s + cost.system_s < 2


def test_memory_is_given_in_bytes() -> None:
    me = os.getpid()

    assert 2**20 < procs.pss_bytes([me]) <= procs.rss_bytes(me)
