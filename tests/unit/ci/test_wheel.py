"""What goes into a wheel beside the compiled modules."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_wheel_has_the_drawings_but_not_the_generated_c(tmp_path: Path) -> None:
    names = ("egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", *names, str(tmp_path / "lib")],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("FASTGATE_")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    packed = {path.suffix for path in (tmp_path / "lib").rglob("*") if path.is_file()}
    assert packed == {".py", ".pxd", ".pyi", ".typed"}
