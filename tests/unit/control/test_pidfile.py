import fcntl
import os

import pytest

from fastgate.control.pidfile import PidFile
from fastgate.errors import StartError


def test_it_holds_the_pid_and_is_removed(tmp_path):
    path = tmp_path / "pid"
    pid_file = PidFile(str(path))
    text = path.read_text()
    pid_file.release()

    assert text == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["1\n", "", "garbage", "9" * 100])
def test_a_stale_file_is_replaced_even_when_its_pid_lives(tmp_path, text):
    path = tmp_path / "pid"
    path.write_text(text)
    pid_file = PidFile(str(path))

    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.release()


def test_a_living_master_is_left_alone(tmp_path):
    path = tmp_path / "pid"
    path.write_text("4711\n")
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(StartError, match=r"another master is running \(pid 4711\)"):
            PidFile(str(path))
    assert path.read_text() == "4711\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_became_anothers_is_not_removed(tmp_path):
    path = tmp_path / "pid"
    pid_file = PidFile(str(path))
    path.unlink()
    path.write_text("4711\n")
    pid_file.release()

    assert path.read_text() == "4711\n"


def test_a_file_overwritten_by_another_is_not_removed(tmp_path):
    path = tmp_path / "pid"
    pid_file = PidFile(str(path))
    path.write_text("4711\n")
    pid_file.release()

    assert path.exists()


def test_a_file_that_is_gone_is_no_error(tmp_path):
    path = tmp_path / "pid"
    pid_file = PidFile(str(path))
    path.unlink()
    pid_file.release()

    assert not path.exists()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StartError, match=r"cannot write pid file .*: no such file"):
        PidFile(str(tmp_path / "none" / "pid"))


def test_a_link_is_replaced_not_followed(tmp_path):
    path, target = tmp_path / "pid", tmp_path / "target"
    target.write_text("precious")
    path.symlink_to(target)
    pid_file = PidFile(str(path))

    assert target.read_text() == "precious"
    assert not path.is_symlink()
    pid_file.release()
