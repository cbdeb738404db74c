"""The house checker: a tiny tree that keeps every rule, then one broken rule each."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKER = Path(__file__).resolve().parents[3] / "ci" / "check_house.py"

RUNS = '"""A module.\n\nRuns in: every process.\n"""\n'

GOOD = {
    "setup.py": 'LADDER = [\n    "fastgate.dataplane.memory",\n'
    '    "fastgate.dataplane.pool",\n    "fastgate._core",\n]\n',
    "fastgate/__init__.py": RUNS,
    "fastgate/__main__.py": RUNS + "from fastgate.cli import main\n",
    "fastgate/cli.py": RUNS + "from fastgate.control import master\n",
    "fastgate/errors.py": RUNS,
    "fastgate/_core.pyx": RUNS
    + "from fastgate.dataplane.pool cimport Pool\nfrom fastgate.errors import Broken\n",
    "fastgate/_core.pxd": "",
    "fastgate/_core.pyi": "class Engine: ...\n",
    "fastgate/config/__init__.py": RUNS,
    "fastgate/config/model.py": RUNS + "from ..errors import ConfigError\n",
    "fastgate/config/load.py": RUNS + "from .model import Gateway\n",
    "fastgate/filters/__init__.py": RUNS,
    "fastgate/control/__init__.py": RUNS,
    "fastgate/control/master.py": RUNS
    + "from fastgate import __version__, _core\nfrom fastgate.config import load\n",
    "fastgate/dataplane/__init__.py": RUNS,
    "fastgate/dataplane/atomics.pxd": "from libc.stdint cimport int64_t\n",
    "fastgate/dataplane/memory.pyx": RUNS,
    "fastgate/dataplane/memory.pxd": "from fastgate.dataplane cimport atomics\n",
    "fastgate/dataplane/pool.pyx": RUNS,
    "fastgate/dataplane/pool.pxd": "from .memory cimport (\n    Slab,\n    Wheel,\n)\n",
}

Check = Callable[[dict[str, str]], list[str]]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def run_checker(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHECKER, root], capture_output=True, text=True, check=False
    )


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check the good tree with some files put in or replaced; return the lines."""

    def run(files: dict[str, str]) -> list[str]:
        write(tmp_path, GOOD | files)
        done = run_checker(tmp_path)
        lines = done.stdout.splitlines()
        assert done.returncode == (1 if lines else 0), done.stderr
        return lines

    return run


def test_a_tree_that_keeps_the_rules_passes_in_silence(check: Check) -> None:
    assert check({}) == []


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    done = run_checker(tmp_path)

    assert done.returncode == 2
    assert "no checkout" in done.stderr


@pytest.mark.parametrize(
    ("path", "line", "said"),
    [
        # Upward, by each spelling of an import.
        (
            "fastgate/errors.py",
            "import fastgate.config",
            "errors may not import config",
        ),
        (
            "fastgate/config/load.py",
            "from fastgate.control import master",
            "config may not import control",
        ),
        (
            "fastgate/config/load.py",
            "from fastgate import control",
            "config may not import control",
        ),
        (
            "fastgate/config/load.py",
            "from .. import cli",
            "config may not import cli",
        ),
        (
            "fastgate/config/load.py",
            "from ..control.master import run",
            "config may not import control",
        ),
        (
            "fastgate/config/load.py",
            "import importlib; importlib.import_module('fastgate.control')",
            "config may not import control",
        ),
        (
            "fastgate/config/load.py",
            "def f():\n    import fastgate.control.master",
            "config may not import control",
        ),
        # Sideways.
        (
            "fastgate/config/load.py",
            "from fastgate.filters import base",
            "config may not import filters",
        ),
        # Only cli may stand above control.
        (
            "fastgate/__main__.py",
            "from fastgate.control import master",
            "__main__ may not import control",
        ),
        # Cython's own Python imports follow the arrows too.
        (
            "fastgate/_core.pyx",
            "from fastgate.config import model",
            "_core may not import config",
        ),
        (
            "fastgate/dataplane/pool.pyx",
            "from fastgate.errors import Broken",
            "dataplane may not import errors",
        ),
    ],
)
def test_an_import_against_the_arrows_is_reported_with_its_line(
    check: Check, path: str, line: str, said: str
) -> None:
    text = GOOD[path] + line + "\n"
    expected_line = text.count("\n")

    (found,) = check({path: text})

    assert found.startswith(f"{path}:{expected_line}: ")
    assert found.endswith(said)


@pytest.mark.parametrize(
    "line",
    [
        "from fastgate.dataplane import pool",
        "from fastgate.dataplane.pool import Pool",
        "import fastgate.dataplane.pool as pool",
    ],
)
def test_python_reaches_compiled_code_only_through_the_door(
    check: Check, line: str
) -> None:
    (found,) = check({"fastgate/control/steward.py": RUNS + line + "\n"})

    assert found.startswith("fastgate/control/steward.py:5: imports fastgate.dataplane")
    assert "the one door to compiled code is _core" in found


@pytest.mark.parametrize(
    "line",
    [
        "from .load import Loaded",
        "from fastgate.config.load import Loaded",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import load",
        "def f():\n    import fastgate.config.load",
        "from .parse import parse",
    ],
)
def test_modules_that_import_each_other_are_reported_with_the_way_round(
    check: Check, line: str
) -> None:
    model = GOOD["fastgate/config/model.py"] + line + "\n"
    parse = RUNS + "from fastgate.config import load\n"

    found = check(
        {"fastgate/config/model.py": model, "fastgate/config/parse.py": parse}
    )

    (said,) = [one for one in found if "config/model.py" in one]
    assert said.startswith(f"fastgate/config/model.py:{model.count(chr(10))}: imports ")
    assert said.endswith("-> fastgate.config.load -> fastgate.config.model")
    assert all("a circle: " in one for one in found)


def test_who_only_imports_from_a_circle_is_no_part_of_it(check: Check) -> None:
    files = {
        "fastgate/control/master.py": RUNS + "from fastgate.control import worker\n",
        "fastgate/control/worker.py": RUNS + "from . import master\n",
    }

    found = check(files)

    assert [one.partition(":")[0] for one in found] == sorted(files)


def test_a_module_outside_the_rooms_is_reported(check: Check) -> None:
    (found,) = check({"fastgate/utils.py": RUNS})

    assert found.startswith("fastgate/utils.py:1: room 'utils' is not in the plan")


@pytest.mark.parametrize(
    "line",
    [
        "from fastgate.dataplane.pool cimport Pool",
        "from fastgate.dataplane cimport pool",
        "cimport fastgate.dataplane.pool",
        "cimport fastgate.dataplane.pool as pool",
        "from .pool cimport Pool",
        "from . cimport pool",
        "from fastgate.dataplane cimport (\n    atomics,\n    pool,\n)",
    ],
)
@pytest.mark.parametrize("suffix", [".pyx", ".pxd"])
def test_a_cimport_from_a_rung_below_is_reported(
    check: Check, line: str, suffix: str
) -> None:
    path = f"fastgate/dataplane/memory{suffix}"

    (found,) = check({path: GOOD[path] + line + "\n"})

    assert found.startswith(f"{path}:")
    assert "cimports fastgate.dataplane.pool, which is not on a rung above" in found


def test_a_header_stands_above_the_ladder_and_may_not_climb_down(check: Check) -> None:
    path = "fastgate/dataplane/atomics.pxd"

    (found,) = check({path: "from .memory cimport Slab\n"})

    assert found.startswith(f"{path}:1: cimports fastgate.dataplane.memory")


def test_a_cimport_of_a_module_without_a_rung_is_reported(check: Check) -> None:
    path = "fastgate/dataplane/pool.pxd"

    (found,) = check({path: "from fastgate.dataplane.memori cimport Slab\n"})

    assert found.endswith("cimports fastgate.dataplane.memori: no such module")


def test_a_rung_whose_source_is_still_to_come_may_be_named(check: Check) -> None:
    ladder = GOOD["setup.py"].replace("[\n", '[\n    "fastgate.dataplane.native",\n')
    pool = "from fastgate.dataplane.native cimport parse\n"

    assert check({"setup.py": ladder, "fastgate/dataplane/pool.pxd": pool}) == []


def test_a_cimport_in_a_comment_or_a_docstring_is_no_cimport(check: Check) -> None:
    docstring = RUNS.replace("A module.", "A module.\n\nfrom .pool cimport Pool")
    text = docstring + "# from .pool cimport Pool\n"

    assert check({"fastgate/dataplane/memory.pyx": text}) == []


def test_a_pyx_without_its_pxd_or_its_rung_is_reported(check: Check) -> None:
    found = check({"fastgate/dataplane/stray.pyx": RUNS})

    assert found == [
        "fastgate/dataplane/stray.pyx:1: fastgate.dataplane.stray"
        " is not in setup.py's LADDER",
        "fastgate/dataplane/stray.pyx:1: has no .pxd beside it",
    ]


def test_a_setup_without_a_plain_ladder_is_reported(check: Check) -> None:
    found = check({"setup.py": "LADDER = make_ladder()\n"})

    assert "setup.py:1: no LADDER = [...] of module names" in found


def test_a_module_on_two_rungs_is_reported(check: Check) -> None:
    ladder = GOOD["setup.py"].replace("]", '    "fastgate._core",\n]')

    assert check({"setup.py": ladder}) == [
        "setup.py:5: fastgate._core stands on two rungs"
    ]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('include "more.pxi"', "include"),
        ("DEF SIZE = 4", "DEF"),
        ("IF UNAME_SYSNAME == 'Linux':\n    pass", "IF"),
    ],
)
def test_old_words_of_cython_are_reported(check: Check, line: str, word: str) -> None:
    path = "fastgate/dataplane/pool.pyx"

    (found,) = check({path: RUNS + line + "\n"})

    assert found.startswith(f"{path}:5: `{word}`")


@pytest.mark.parametrize(
    "line",
    [
        "import multiprocessing",
        "from multiprocessing import Lock",
        "from multiprocessing.managers import SyncManager",
    ],
)
def test_multiprocessing_is_reported(check: Check, line: str) -> None:
    (found,) = check({"fastgate/control/worker.py": RUNS + line + "\n"})

    assert found.startswith("fastgate/control/worker.py:5: multiprocessing: ")


@pytest.mark.parametrize("path", ["fastgate/cli.py", "fastgate/dataplane/pool.pyx"])
@pytest.mark.parametrize(
    "text",
    ["", '"""Says nothing of processes."""\n', "# Runs in: worker\n", "runs = 'in'\n"],
)
def test_a_module_that_does_not_say_where_it_runs_is_reported(
    check: Check, path: str, text: str
) -> None:
    (found,) = check({path: text})

    assert found.startswith(f"{path}:1: the module's docstring lacks `Runs in:")


@pytest.mark.parametrize(
    "docstring",
    [
        '"""A table. Runs in: worker."""',
        '"""A table.\n\nRuns in: master (before it forks) and steward.\n"""',
        '"""Runs in: every process."""',
        'r"""Runs in: every process."""',
    ],
)
def test_a_docstring_may_say_anywhere_where_it_runs(
    check: Check, docstring: str
) -> None:
    assert check({"fastgate/dataplane/pool.pyx": docstring + "\n"}) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("backend = 1", "'backend' in backend"),
        ("class BackendPool:\n    pass", "'backend' in BackendPool"),
        ("def add_frontends(): ...", "'frontend' in add_frontends"),
        ("x = 1  # like a middleware", "'middleware' in middleware"),
        ("def f():\n    '''Load the plugin.'''", "'plugin' in plugin"),
        ("delay_msec = 1", "'msec' in delay_msec"),
    ],
)
@pytest.mark.parametrize("path", ["fastgate/cli.py", "fastgate/dataplane/pool.pyx"])
def test_a_wrong_word_is_reported_with_the_right_one(
    check: Check, path: str, line: str, said: str
) -> None:
    (found,) = check({path: RUNS + line.replace("'''", '"""') + "\n"})

    assert said in found
    assert ": say " in found


@pytest.mark.parametrize(
    "line",
    [
        "x = 'backend'",
        "x = timeval.tv_usec",
        "x = 1  # HAProxy's backend  # house: allow backend",
        "host = server = origin = 1",
    ],
)
def test_a_foreign_word_in_a_string_or_with_leave_passes(
    check: Check, line: str
) -> None:
    assert check({"fastgate/cli.py": RUNS + line + "\n"}) == []


def test_leave_for_one_word_is_no_leave_for_another(check: Check) -> None:
    line = "backend = frontend = 1  # house: allow backend"

    (found,) = check({"fastgate/cli.py": RUNS + line + "\n"})

    assert "'frontend'" in found


@pytest.mark.parametrize(
    ("path", "limit"),
    [("fastgate/cli.py", 500), ("fastgate/control/worker.py", 800), ("ci/x.py", 800)],
)
def test_a_file_past_twice_its_expected_length_is_reported(
    check: Check, path: str, limit: int
) -> None:
    full = RUNS + "\n" * (limit - RUNS.count("\n"))

    assert check({path: full}) == []
    assert check({path: full + "\n"}) == [
        f"{path}:{limit + 1}: {limit + 1} lines, at most {limit}: split it"
    ]
