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
from fastgate.config.peers import PEERS

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


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

    assert set(schema["$defs"]["Gateway"]["properties"]) == {
        *KNOBS,
        "error_pages",
    }
    assert "null" not in json.dumps(schema["$defs"]["Gateway"]["properties"]["drain"])


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
        ["groff", "-man", "-Tascii", "-ww", "-z"],
        input=manpage.page(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_peers_do_is_told_of_settings_that_exist() -> None:
    assert set(PEERS) <= set(KNOBS)
    assert all(cell.strip() for peers in PEERS.values() for cell in peers)
