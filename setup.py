"""Build: the floors of the extension modules and the directives they share.

Everything else about the package stands in pyproject.toml.

`ci/check_house.py` reads FLOORS and holds the sources of the data plane to it.

Environment: FASTGATE_DEBUG=1 turns on every run-time check of Cython;
FASTGATE_SANITIZE=1 builds with AddressSanitizer and UBSan; CC names the compiler.
"""

import os
import shlex
import subprocess
import sys
import sysconfig

from Cython.Build import cythonize
from setuptools import Extension, setup

# The floors of the data plane, from the ground up: a folder, the folders that it may
# cimport ("*": all before it), and its rooms in order. A room may cimport those before
# it. What a Worker embeds of balance is built before conn, the rest of it on conn: it
# stands on two floors.
FLOORS = [
    (
        "base",
        "",
        "atomics system words text hashing address chance memory wheel faults",
    ),
    ("native", "base", "llhttp"),
    ("shared", "base", "region slots places"),
    (
        "http",
        "base",
        "message fields methods canonical status client rules writer via outgoing",
    ),
    ("route", "base http", "router readings"),
    ("telemetry", "base shared", "incidents clock logwriter accesslog"),
    ("balance", "base shared", "policies budget attempt endpoint"),
    (
        "plan",
        "base shared http route telemetry balance",
        "table keeper answer gateway listener route upstream log plan",
    ),
    ("conn", "base shared route telemetry balance plan", "conn peer"),
    (
        "balance",
        "base shared http telemetry plan conn",
        "members key queue judge retry",
    ),
    (
        "exchange",
        "base shared http route telemetry balance plan conn",
        "steps sides routing record again exchange answer",
    ),
    (
        "h1",
        "base native http balance plan conn shared exchange",
        "strict chunked parser reader write connections idle pool dial origin deadlines"
        " client",
    ),
    ("engine", "*", "engine"),
]
MODULES = [
    f"fastgate.dataplane.{folder}.{room}"
    for folder, _, rooms in FLOORS
    for room in rooms.split()
]
MODULES.append("fastgate._core")

CORES = len(os.sched_getaffinity(0))
DEBUG = os.environ.get("FASTGATE_DEBUG") == "1"
SANITIZE = os.environ.get("FASTGATE_SANITIZE") == "1"

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "nonecheck": DEBUG,
    "initializedcheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": False,
}


def taken(flags: list[str]) -> list[str]:
    """Give those of the flags that the compiler takes for the machine it builds for."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC"))
    nothing = ["-x", "c", "-c", "-o", os.devnull, os.devnull]

    def takes(flag: str) -> bool:
        tried = [*compiler, "-Werror", flag, *nothing]
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0

    return [flag for flag in flags if takes(flag)]


COMPILE = ["-g", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-cast-function-type"]
# As on x86-64: elsewhere a plain char has no sign, and `c < 0` finds no byte above 7F.
COMPILE += ["-fsigned-char"]
LINK = ["-Wl,-z,relro,-z,now"]
if SANITIZE:
    COMPILE += ["-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
    COMPILE += ["-fno-sanitize-recover=undefined"]
    LINK += ["-fsanitize=address,undefined"]
else:
    COMPILE += ["-O2", "-fno-semantic-interposition", "-fno-plt"]
    COMPILE += ["-D_FORTIFY_SOURCE=2", "-fstack-protector-strong"]
    # Control flow is guarded in another way on each machine: x86-64, arm64.
    COMPILE += taken(
        ["-fstack-clash-protection", "-fcf-protection", "-mbranch-protection=standard"]
    )


def source(module: str) -> str:
    """Return the path of a module's source."""
    return module.replace(".", "/") + ".pyx"


extensions = [
    Extension(
        module,
        [source(module)],
        libraries=["m", "dl"],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
    )
    for module in MODULES
    if os.path.exists(source(module))
]


def write_manual() -> None:
    """Write the manual page that pyproject.toml installs: it is never out of date."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from fastgate.config.manpage import page  # noqa: PLC0415 - of this tree

    os.makedirs("build/man", exist_ok=True)
    with open("build/man/fastgate.1", "w", encoding="utf-8") as file:
        file.write(page())


# tests/native/setup.py reads this file for its flags and must build nothing.
if __name__ == "__main__":
    write_manual()
    setup(
        ext_modules=cythonize(
            extensions,
            compiler_directives=DIRECTIVES,
            nthreads=CORES,
        ),
        options={"build_ext": {"parallel": CORES}},
    )
