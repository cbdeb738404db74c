"""The house checker: a tiny tree that keeps every rule, then one broken rule each."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKER = Path(__file__).resolve().parents[3] / "ci" / "check_house.py"

RUNS = '"""A module.\n\nRuns in: every process.\n"""\n'

GOOD = {
    "setup.py": """
FLOORS = [
    ("base", "", "atomics memory"),
    ("conn", "base", "conn"),
    ("balance", "base conn", "judge"),
    ("admit", "base conn", "lists"),
    ("h1", "base conn", "reader pool"),
    ("l4", "base conn", "relay"),
    ("engine", "*", "engine"),
]
""",
    "fastgate/__init__.py": RUNS,
    "fastgate/__main__.py": RUNS + "from fastgate.cli import main\n",
    "fastgate/cli.py": RUNS + "from fastgate.control import master\n",
    "fastgate/errors.py": RUNS,
    "fastgate/_core.pyx": RUNS
    + "from fastgate.dataplane.h1.pool cimport Pool\n"
    + "from fastgate.errors import Broken\n",
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
    "fastgate/dataplane/base/__init__.py": RUNS,
    "fastgate/dataplane/base/atomics.pxd": "from libc.stdint cimport int64_t\n",
    "fastgate/dataplane/base/memory.pyx": RUNS,
    "fastgate/dataplane/base/memory.pxd": "from . cimport atomics\n",
    "fastgate/dataplane/conn/__init__.py": RUNS,
    "fastgate/dataplane/conn/conn.pyx": RUNS,
    "fastgate/dataplane/conn/conn.pxd": "from ..base.memory cimport (\n    Slab,\n)\n",
    "fastgate/dataplane/balance/__init__.py": RUNS,
    "fastgate/dataplane/balance/judge.pyx": RUNS,
    "fastgate/dataplane/balance/judge.pxd": "from ..conn.conn cimport Worker\n",
    "fastgate/dataplane/admit/__init__.py": RUNS,
    "fastgate/dataplane/admit/lists.pyx": RUNS,
    "fastgate/dataplane/admit/lists.pxd": "",
    "fastgate/dataplane/h1/__init__.py": RUNS,
    "fastgate/dataplane/h1/reader.pyx": RUNS,
    "fastgate/dataplane/h1/reader.pxd": "from ..conn.conn cimport Conn\n",
    "fastgate/dataplane/h1/pool.pyx": RUNS,
    "fastgate/dataplane/h1/pool.pxd": "from .reader cimport (\n    R,\n    feed,\n)\n",
    "fastgate/dataplane/l4/__init__.py": RUNS,
    "fastgate/dataplane/l4/relay.pyx": RUNS,
    "fastgate/dataplane/l4/relay.pxd": "from fastgate.dataplane.conn cimport conn\n",
    "fastgate/dataplane/engine/__init__.py": RUNS,
    "fastgate/dataplane/engine/engine.pyx": RUNS,
    "fastgate/dataplane/engine/engine.pxd": "from ..l4 cimport relay\n",
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
            "fastgate/dataplane/h1/pool.pyx",
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
        "from fastgate.dataplane.h1 import pool",
        "from fastgate.dataplane.h1.pool import Pool",
        "import fastgate.dataplane.h1.pool as pool",
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
        "from fastgate.dataplane.h1.pool cimport Pool",
        "from fastgate.dataplane.h1 cimport pool",
        "cimport fastgate.dataplane.h1.pool",
        "cimport fastgate.dataplane.h1.pool as pool",
        "from .pool cimport Pool",
        "from . cimport pool",
        "from fastgate.dataplane.h1 cimport (\n    reader,\n    pool,\n)",
    ],
)
@pytest.mark.parametrize("suffix", [".pyx", ".pxd"])
def test_a_room_that_cimports_a_later_one_is_reported(
    check: Check, line: str, suffix: str
) -> None:
    path = f"fastgate/dataplane/h1/reader{suffix}"

    (found,) = check({path: GOOD[path] + line + "\n"})

    assert found.startswith(f"{path}:")
    assert "cimports fastgate.dataplane.h1.pool, which comes after" in found


@pytest.mark.parametrize(
    ("room", "line", "said"),
    [
        (
            "l4/relay.pxd",
            "from fastgate.dataplane.h1.reader cimport Reader",
            "fastgate.dataplane.h1.reader: l4 may not see h1",
        ),
        (
            "h1/pool.pyx",
            "from ..admit cimport lists",
            "fastgate.dataplane.admit.lists: h1 may not see admit",
        ),
    ],
)
def test_a_room_sees_only_the_folders_that_its_floor_names(
    check: Check, room: str, line: str, said: str
) -> None:
    path = f"fastgate/dataplane/{room}"

    (found,) = check({path: GOOD[path] + line + "\n"})

    assert found.endswith(f"cimports {said} (FLOORS in setup.py)")


def test_a_header_alone_has_its_place_as_well(check: Check) -> None:
    path = "fastgate/dataplane/base/atomics.pxd"

    (found,) = check({path: "from .memory cimport Slab\n"})

    assert found.startswith(f"{path}:1: cimports fastgate.dataplane.base.memory")


def test_a_cimport_of_a_module_that_is_not_there_is_reported(check: Check) -> None:
    path = "fastgate/dataplane/h1/pool.pxd"

    (found,) = check({path: "from fastgate.dataplane.h1.raeder cimport Reader\n"})

    assert found.endswith("cimports fastgate.dataplane.h1.raeder: no such module")


def test_a_cimport_in_a_comment_or_a_docstring_is_no_cimport(check: Check) -> None:
    docstring = RUNS.replace("A module.", "A module.\n\nfrom .pool cimport Pool")
    text = docstring + "# from .pool cimport Pool\n"

    assert check({"fastgate/dataplane/h1/reader.pyx": text}) == []


def test_a_pyx_without_its_pxd_or_its_place_is_reported(check: Check) -> None:
    found = check({"fastgate/dataplane/h1/stray.pyx": RUNS})

    assert found == [
        "fastgate/dataplane/h1/stray.pyx:1: fastgate.dataplane.h1.stray"
        " is not in setup.py's FLOORS",
        "fastgate/dataplane/h1/stray.pyx:1: has no .pxd beside it",
    ]


@pytest.mark.parametrize(
    "floors",
    ["make_floors()", "{}", '[("base", "")]', '[("base", "", 1)]', '["base"]'],
)
def test_a_setup_without_plain_floors_is_reported(check: Check, floors: str) -> None:
    found = check({"setup.py": f"FLOORS = {floors}\n"})

    assert "setup.py:1: no FLOORS = [...] of rows of three strings" in found


def test_a_room_in_two_places_is_reported(check: Check) -> None:
    floors = GOOD["setup.py"].replace("reader pool", "reader pool pool")

    assert check({"setup.py": floors}) == ["setup.py:7: h1.pool stands in two places"]


def test_a_floor_that_names_one_above_it_is_reported(check: Check) -> None:
    floors = GOOD["setup.py"].replace('"base", "conn"', '"base l4", "conn"')

    assert check({"setup.py": floors}) == [
        "setup.py:4: conn names l4, which is no floor below it"
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
    path = "fastgate/dataplane/h1/pool.pyx"

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


@pytest.mark.parametrize("path", ["fastgate/cli.py", "fastgate/dataplane/h1/pool.pyx"])
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
    assert check({"fastgate/dataplane/h1/pool.pyx": docstring + "\n"}) == []


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
@pytest.mark.parametrize("path", ["fastgate/cli.py", "fastgate/dataplane/h1/pool.pyx"])
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
