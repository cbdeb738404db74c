import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from fastgate.config import document, manpage
from fastgate.config.commands import COMMANDS
from fastgate.config.knobs import KNOBS
from fastgate.config.model import Config

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "configuration.md"


def test_the_page_is_what_the_model_says() -> None:
    assert PAGE.read_text() == document.markdown(), (
        "run: python -m fastgate.config.document > docs/configuration.md"
    )


def test_the_page_names_every_knob_its_flag_and_its_variable() -> None:
    page = document.markdown()

    missing = [
        knob.key
        for knob in KNOBS.values()
        if not all(f"`{n}`" in page for n in (knob.key, knob.flag, knob.variable))
    ]

    assert missing == []


def test_the_example_of_the_page_is_a_good_configuration() -> None:
    text = document.EXAMPLE.split("```toml\n")[1].split("```")[0]

    config = Config.model_validate(tomllib.loads(text))

    assert [route.name for route in config.routes] == ["users", "assets"]


def test_the_schema_is_json_with_every_knob() -> None:
    schema = json.loads(document.schema())

    assert set(schema["$defs"]["Gateway"]["properties"]) == set(KNOBS)
    assert "null" not in json.dumps(schema["$defs"]["Gateway"]["properties"]["drain"])


def test_the_manual_page_is_what_the_model_says() -> None:
    assert (DOCS / "fastgate.1").read_text() == manpage.page(), (
        "run: python -m fastgate.config.document --man > docs/fastgate.1"
    )


def test_the_manual_page_names_every_command_flag_variable_and_default() -> None:
    text = manpage.page().replace("\\-", "-")

    assert all(f".B fastgate {command}\n" in text for command in COMMANDS)
    for knob in KNOBS.values():
        assert f"\\fB{knob.flag}\\fR" in text
        assert f"[{knob.variable}; default: {knob.default_text}" in text


def test_the_manual_page_holds_no_request_that_nobody_wrote() -> None:
    known = {".TH", ".SH", ".SS", ".TP", ".B", ".RI", ".br", ".PP", ".nf", ".fi"}
    lines = manpage.page().splitlines()

    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert requests - known == {'.\\"'}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
def test_the_manual_page_is_read_by_groff_without_a_warning() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z", str(DOCS / "fastgate.1")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("key", list(KNOBS))
def test_every_default_stands_beside_the_peers(key: str) -> None:
    start = f"| `{key}` | {KNOBS[key].default_text} | "
    page = (DOCS / "defaults.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(start)]

    assert len(rows) == 1, f"docs/defaults.md needs a row {start}nginx | HAProxy |"
    assert all(cell.strip() for cell in rows[0].split("|")[1:-1])
