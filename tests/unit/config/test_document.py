import json
import tomllib
from pathlib import Path

from fastgate.config import document
from fastgate.config.knobs import KNOBS
from fastgate.config.model import Config

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

    assert set(schema["$defs"]["Gateway"]["properties"]) == set(KNOBS)
    assert "null" not in json.dumps(schema["$defs"]["Gateway"]["properties"]["drain"])
