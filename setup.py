"""Build: the ladder of extension modules and the directives they share.

Everything else about the package stands in pyproject.toml.

A module of the data plane may cimport only modules on rungs above its own;
`ci/check_house.py` reads LADDER and holds the sources to it.

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

LADDER = [
    "fastgate.dataplane.faults",
    "fastgate.dataplane.incidents",
    "fastgate.dataplane.native",
    "fastgate.dataplane.memory",
    "fastgate.dataplane.slots",
    "fastgate.dataplane.limits",
    "fastgate.dataplane.balance",
    "fastgate.dataplane.router",
    "fastgate.dataplane.canonical",
    "fastgate.dataplane.readings",
    "fastgate.dataplane.fields",
    "fastgate.dataplane.strict",
    "fastgate.dataplane.chunked",
    "fastgate.dataplane.wire",
    "fastgate.dataplane.via",
    "fastgate.dataplane.rewrite",
    "fastgate.dataplane.logwriter",
    "fastgate.dataplane.accesslog",
    "fastgate.dataplane.plan",
    "fastgate.dataplane.conn",
    "fastgate.dataplane.idle",
    "fastgate.dataplane.peer",
    "fastgate.dataplane.pool",
    "fastgate.dataplane.upstream",
    "fastgate.dataplane.downstream",
    "fastgate.dataplane.record",
    "fastgate.dataplane.placement",
    "fastgate.dataplane.routing",
    "fastgate.dataplane.waiting",
    "fastgate.dataplane.attempt",
    "fastgate.dataplane.exchange",
    "fastgate.dataplane.engine",
    "fastgate._core",
]

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
    for module in LADDER
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
