"""The bench runs and finds right answers; it says nothing here about speed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]


@pytest.mark.slow
def test_a_smoke_of_the_comparison_measures_the_floor_and_fastgate(
    tmp_path: Path,
) -> None:
    out = tmp_path / "result.json"
    done = subprocess.run(
        [
            *(sys.executable, "bench/compare.py", "--smoke", "--scenario", "browser"),
            *("--connections", "64", "--workers", "1", "--peers", "floor,fastgate"),
            *("--json", str(out)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert {"floor", "fastgate"} <= set(
        json.dumps(json.loads(out.read_text())).split('"')
    )
