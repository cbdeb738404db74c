"""The check for arm64: what it asks of the compiler, and what it says of that."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# What gcc says of a flag that only x86-64 knows.
FOREIGN = "-fcf-protection"


def compiler(folder: Path, verdict: str) -> str:
    """Make a compiler that refuses the foreign flag, and files as `verdict` says."""
    path = folder / "arm-cc"
    path.write_text(
        f"""#!/bin/bash
        [[ " $* " != *" {FOREIGN} "* ]] || exit 1
        [[ "$*" == *-fsyntax-only* ]] || exit 0
        echo "$*" >>{folder}/asked
        {verdict}
        """
    )
    path.chmod(0o755)
    return str(path)


def check(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "ci/check_arm64.py", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_flag_that_the_compiler_does_not_take_is_left_out(tmp_path: Path) -> None:
    done = check(compiler(tmp_path, "exit 0"))

    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text()
    assert FOREIGN not in asked
    assert "-mbranch-protection=standard" in asked


def test_a_file_that_does_not_compile_is_shown_and_fails(tmp_path: Path) -> None:
    wrong = '[[ "$*" != */_core.c ]] || { echo "_core.c:1: no" >&2; exit 1; }'

    done = check(compiler(tmp_path, wrong))

    assert done.returncode == 1
    assert done.stderr == "_core.c:1: no\n"


def test_without_the_compiler_it_says_so_and_passes(tmp_path: Path) -> None:
    done = check(str(tmp_path / "none"))

    assert done.returncode == 0
    assert "not checked" in done.stdout
