"""Every input that the fuzzer keeps holds every property, for both targets."""

import os
import subprocess
import sys
from pathlib import Path

import parser_fuzz
import pytest

HERE = Path(__file__).resolve().parent
CORPUS = sorted((HERE / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
@pytest.mark.parametrize("response", [False, True], ids=["request", "response"])
def test_a_kept_input_holds_every_property(path: Path, response: bool) -> None:
    broken = parser_fuzz.feed_one(path.read_bytes(), response)

    assert parser_fuzz.PROPERTIES.get(broken) is None


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) > 30


@pytest.mark.parametrize("target", ["request", "response"])
def test_a_short_run_with_a_fixed_seed_finds_nothing(
    target: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(HERE / "run.py"),
            "--seconds=1",
            "--seed=7",
            f"--target={target}",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "inputs" in done.stdout
