"""The shared set-up of ci/: what it asks of a machine, and when it builds anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[3] / "ci" / "lib.sh"

TOOLS = [
    "bash",
    "cat",
    "dirname",
    "find",
    "mkdir",
    "rm",
    "sha256sum",
    "sort",
    "tail",
    "xargs",
]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Make a folder of commands that stands for a machine: no compiler, not root."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (commands / tool).symlink_to(found)
    command(commands, "id", "echo 1000")
    command(commands, "curl", "true")
    return commands


def command(commands: Path, name: str, body: str) -> None:
    path = commands / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def python(commands: Path, *, version: str = "3.11", has: str = "venv headers") -> None:
    """Put a python3 that answers the questions of lib.sh as told."""
    supported = "0" if version in {"3.11", "3.12", "3.13", "3.14"} else "1"
    command(
        commands,
        "python3",
        f"""
        case $2 in
            *version_info*) exit {supported} ;;
            *ensurepip*) [[ "{has}" == *venv* ]] ;;
            *Python.h*) [[ "{has}" == *headers* ]] ;;
        esac""",
    )


def shell(machine: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine), "HOME": str(machine)} | more
    # Without this the real interpreter of the machine would be found and used.
    environment.setdefault("FASTGATE_PYTHON", "python3")
    return subprocess.run(
        ["bash", "-c", f"source {LIB}; {script}"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_that_has_everything_is_left_alone(machine: Path) -> None:
    python(machine)
    command(machine, "gcc", "true")

    done = shell(machine, "fg_need_machine")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("has", "compiler", "line"),
    [
        ("venv headers", False, "gcc libc6-dev"),
        ("headers", True, "python3-venv"),
        ("venv", True, "python3-dev"),
        ("", False, "python3-venv python3-dev gcc libc6-dev"),
    ],
)
def test_who_is_not_root_is_told_the_exact_line_and_exit_3(
    machine: Path, has: str, compiler: bool, line: str
) -> None:
    python(machine, has=has)
    if compiler:
        command(machine, "gcc", "true")

    done = shell(machine, "fg_need_machine")

    assert done.returncode == 3
    last = done.stderr.splitlines()[-1].strip()
    assert last == f"apt-get update && apt-get install -y {line}"


def test_root_has_it_installed_by_apt(machine: Path, tmp_path: Path) -> None:
    python(machine)
    command(machine, "id", "echo 0")
    command(machine, "apt-get", f'echo "$@" >>{tmp_path}/apt')

    done = shell(machine, f"LOG={tmp_path}/log; fg_need_machine")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "apt").read_text().splitlines() == [
        "update",
        "install -y --no-install-recommends gcc libc6-dev",
    ]


def test_a_step_that_fails_shows_what_it_printed_and_stops(
    machine: Path, tmp_path: Path
) -> None:
    python(machine)
    command(machine, "id", "echo 0")
    command(machine, "apt-get", "echo no such archive >&2; exit 100")

    done = shell(machine, f"LOG={tmp_path}/log; fg_need_machine; echo went on")

    assert done.returncode == 1
    assert done.stdout == ""
    assert "no such archive" in done.stderr
    assert "failed: apt-get update" in done.stderr


def test_what_a_module_that_moved_left_behind_is_swept_away(
    machine: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "fastgate"
    (tree / "plan").mkdir(parents=True)
    here = ["plan/plan.c", "plan/plan.cpython-311-x86_64-linux-gnu.so", "plan/plan.pyx"]
    gone = ["plan.c", "plan.cpython-311-x86_64-linux-gnu.so"]
    for name in here + gone:
        (tree / name).touch()

    done = shell(machine, f"cd {tmp_path}; fg_sweep")

    assert done.returncode == 0, done.stderr
    left = [path.relative_to(tree).as_posix() for path in tree.rglob("*.*")]
    assert sorted(left) == here


def test_an_interpreter_too_old_or_too_new_is_refused(machine: Path) -> None:
    python(machine, version="3.15")

    done = shell(machine, "fg_need_machine")

    assert done.returncode == 3
    assert "FASTGATE_PYTHON=python3 is not a Python 3.11 to 3.14" in done.stderr


def test_a_name_on_path_that_does_not_run_is_passed_over(machine: Path) -> None:
    python(machine)
    command(machine, "python3.11", "echo shim: not found >&2; exit 127")

    done = shell(machine, "fg_find_python", FASTGATE_PYTHON="python3.11 python3")

    assert done.stdout == "python3"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make the least that the build stamp reads."""
    root = tmp_path / "checkout"
    for name in ("setup.py", "pyproject.toml", "tests/native/setup.py"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (root / "fastgate").mkdir()
    (root / "fastgate" / "a.pyx").write_text("x = 1\n")
    return root


def stamp(checkout: Path, folder: str = "fastgate", **more: str) -> str:
    script = f"PY={sys.executable}; cd {checkout}; fg_build_stamp {folder}"
    # ci/test --debug and --asan run this file with a flag set.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FASTGATE_")}
    done = subprocess.run(
        ["bash", "-c", f"source {LIB}; {script}"],
        env=clean | more,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_nothing_is_built_anew_while_nothing_changed(checkout: Path) -> None:
    before = stamp(checkout)
    (checkout / "fastgate" / "a.pyx").touch()
    (checkout / "fastgate" / "b.py").write_text("")

    assert stamp(checkout) == before


@pytest.mark.parametrize(
    "path",
    ["fastgate/a.pyx", "fastgate/a.pxd", "setup.py", "pyproject.toml", "fastgate/a.so"],
)
def test_a_changed_source_setting_or_product_is_built_anew(
    checkout: Path, path: str
) -> None:
    before = stamp(checkout)
    (checkout / path).write_text("x = 2\n")

    assert stamp(checkout) != before


def test_the_program_is_not_built_anew_for_a_module_of_the_tests(
    checkout: Path,
) -> None:
    before = stamp(checkout), stamp(checkout, "tests/native")
    (checkout / "tests/native/a.pyx").write_text("x = 1\n")
    after = stamp(checkout), stamp(checkout, "tests/native")

    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_module_of_the_tests_is_built_anew_for_a_struct_of_the_program(
    checkout: Path,
) -> None:
    before = stamp(checkout, "tests/native")
    (checkout / "fastgate/a.pxd").write_text("cdef int x\n")

    assert stamp(checkout, "tests/native") != before


@pytest.mark.parametrize("verb", ["run", "test"])
def test_only_tests_need_the_modules_of_the_tests(checkout: Path, verb: str) -> None:
    script = f"""
        PY={sys.executable}; ROOT={checkout}; cd {checkout}
        fg_compile_program() {{ echo program; }}
        fg_compile_tests() {{ echo tests; }}
        fg_keep_hints() {{ :; }}
        fg_build {verb}; fg_build {verb}"""
    done = subprocess.run(
        ["bash", "-c", f"source {LIB}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )

    built = {"run": ["program"], "test": ["program", "tests"]}
    assert done.stdout.split() == built[verb]


@pytest.mark.parametrize("flag", ["FASTGATE_DEBUG", "FASTGATE_SANITIZE"])
def test_a_changed_flag_is_built_anew(checkout: Path, flag: str) -> None:
    assert stamp(checkout, **{flag: "1"}) != stamp(checkout)
