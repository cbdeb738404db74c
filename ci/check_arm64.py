"""Check that every generated C file compiles for arm64, without building anything.

Runs in: no process of the gateway; ci/test calls it after the build.

Usage: python ci/check_arm64.py [COMPILER]

COMPILER (default aarch64-linux-gnu-gcc) is asked for its syntax check with the
flags that setup.py would give it. Where there is no such compiler, one line says
so and nothing is checked. Exit 1 if a file does not pass, 2 if there is none.
"""

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def flags(compiler: str) -> list[str]:
    """Give the flags of setup.py for that compiler."""
    os.environ["CC"] = compiler
    house = runpy.run_path(str(ROOT / "setup.py"), run_name="fastgate_flags")
    return [*house["COMPILE"], "-I", sysconfig.get_path("include")]


def check(compiler: str, options: list[str], source: Path) -> str:
    """Give what the compiler says against one file; an empty text is good."""
    asked = [compiler, "-fsyntax-only", *options, str(source)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def main(arguments: list[str]) -> int:
    """Check every file; gives the exit code."""
    compiler = arguments[0] if arguments else "aarch64-linux-gnu-gcc"
    if shutil.which(compiler) is None:
        print(f"arm64: not checked, {compiler} is not installed")
        return 0
    sources = sorted((ROOT / "fastgate").rglob("*.c"))
    if not sources:
        print("arm64: no generated C: build first", file=sys.stderr)
        return 2
    options = flags(compiler)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        said = list(pool.map(lambda s: check(compiler, options, s), sources))
    wrong = [text for text in said if text]
    print("".join(wrong), end="", file=sys.stderr)
    print(f"arm64: {len(sources) - len(wrong)} of {len(sources)} files compile")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
