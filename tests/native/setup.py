"""Build every tests/native/*.pyx beside its source: modules only tests import.

They cimport from fastgate.dataplane and are compiled with the project's own
flags and directives, read from the setup.py at the root, so that a test sees
the code as a worker does. Called by ci/test; by hand:

    python tests/native/setup.py -q build_ext
"""

import os
import runpy
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "native"

SOURCES = sorted(HERE.glob("*.pyx"))


def is_stale() -> bool:
    """Is a .pxd newer than a translation?

    Asked here because cythonize does not follow `from fastgate.dataplane.base cimport
    faults`: a probe would keep the layout of a struct that has since changed.
    """
    translations = [BUILD / "c" / f"{source.stem}.c" for source in SOURCES]
    drawings = [*HERE.glob("*.pxd"), *(ROOT / "fastgate").rglob("*.pxd")]
    newest = max(path.stat().st_mtime for path in drawings)
    return any(path.exists() and path.stat().st_mtime < newest for path in translations)


house = runpy.run_path(str(ROOT / "setup.py"), run_name="fastgate_flags")

# From here setuptools finds no pyproject.toml that it would take for ours.
os.chdir(HERE)

extensions = [
    Extension(
        source.stem,
        [source.name],
        include_dirs=[str(HERE)],
        libraries=["m", "dl"],
        extra_compile_args=house["COMPILE"],
        extra_link_args=house["LINK"],
    )
    for source in SOURCES
]

# From Python 3.14 on, the processes that cythonize starts import this file.
if __name__ == "__main__":
    setup(
        name="fastgate-native-tests",
        packages=[],
        py_modules=[],
        ext_modules=cythonize(
            extensions,
            compiler_directives=house["DIRECTIVES"],
            include_path=[str(ROOT)],
            build_dir=str(BUILD / "c"),
            # None leaves it to cythonize, and to CYTHON_FORCE_REGEN.
            force=is_stale() or None,
            nthreads=house["CORES"],
        ),
        options={
            "build": {"build_base": str(BUILD)},
            "build_ext": {"inplace": True, "parallel": house["CORES"]},
        },
    )
