"""`retry` of an upstream: what it takes, what it refuses, and how it is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastgate._core import FAULTS
from fastgate.config.dump import render
from fastgate.config.load import load
from fastgate.config.model import Upstream
from fastgate.config.model.retry import CAUSES
from fastgate.errors import ConfigError

FILE = """
[listeners.web]
address = "127.0.0.1:8080"
[upstreams.users]
endpoints = ["127.0.0.1:9001"]
{lines}
[[routes]]
name = "users"
upstream = "users"
"""


def upstream(**keys: Any) -> Upstream:
    return Upstream.model_validate({"endpoints": ["127.0.0.1:1"], **keys})


def test_what_is_not_said_is_as_without_the_table() -> None:
    said, silent = upstream(retry={}).retry, upstream().retry

    assert said == silent
    assert (silent.on, silent.tries, silent.budget) == (
        ("connect", "reset"),
        None,
        None,
    )
    assert (silent.backoff, silent.per_try, silent.methods) == (0, 0, "idempotent")


def test_every_value_is_read_as_files_write_it() -> None:
    retry = upstream(
        retry={
            "on": ["connect", 502, "503", 429],
            "tries": "2",
            "backoff": "25ms",
            "budget": "20%",
            "methods": "all",
            "per_try": 2,
        }
    ).retry

    assert retry.on == ("connect", 502, 503, 429)
    assert (retry.tries, retry.backoff, retry.budget) == (2, 25, 20)
    assert (retry.methods, retry.per_try) == ("all", 2000)
    assert upstream(retry={"on": "reset, 500"}).retry.on == ("reset", 500)


def test_the_words_are_those_of_the_table_of_faults() -> None:
    again = {fault["again"] for fault in FAULTS.values()}

    assert again - {"never", "status"} == set(CAUSES)


REFUSED: dict[str, str] = {
    'retry = { on = ["resets"] }': "on[0]: 'resets' is not connect, reset, timeout, bad"
    " or a status; did you mean 'reset'?",
    "retry = { on = [502, 404] }": "on[1]: 404 is not a status of 500..599, nor 429",
    "retry = { on = [-500] }": "on[0]: -500 is not a status of 500..599, nor 429",
    "retry = { on = [] }": "on: is empty: for no retry write tries = 0",
    "retry = { on = [502, '502'] }": "on: 502 is listed twice",
    "retry = { on = [true] }": "on[0]: true is not a whole number",
    "retry = { tries = 9 }": "tries: 9 is outside 0..8",
    "retry = { budget = '101%' }": "budget: '101%' is outside 0%..100%",
    "retry = { backoff = '11s' }": "backoff: '11s' is outside 0s..10s",
    "retry = { backoff = '-1s' }": "backoff: '-1s' is outside 0s..10s",
    "retry = { per_try = '2d' }": "per_try: '2d' is outside 0s..24h",
    "retry = { methods = 'post' }": "methods: 'post' is not one of idempotent, all",
    "retry = { backof = 1 }": "unknown key 'backof' in retry of [upstreams.users];"
    " did you mean 'backoff'?",
    "retry = 3": "retry: 3 is not a table",
    "retries = 1\nretry = { tries = 1 }": "retry: tries contradicts retries:"
    " give one of the two",
    "retry_budget = 1\nretry = { budget = 1 }": "retry: budget contradicts"
    " retry_budget: give one of the two",
}


@pytest.mark.parametrize("lines", REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_place(
    tmp_path: Path, lines: str
) -> None:
    path = tmp_path / "fastgate.toml"
    path.write_text(FILE.format(lines=lines))
    with pytest.raises(ConfigError) as raised:
        load(str(path), {}, {})

    (problem,) = raised.value.problems
    line = 6 + lines.count("\n")
    assert str(problem).startswith(f"{path}:{line}:")
    assert str(problem).endswith(f": {REFUSED[lines]}")


def test_one_knob_may_stand_beside_the_other_key() -> None:
    both = upstream(retries=1, retry={"budget": "5%"})

    assert (both.retries, both.retry.tries, both.retry.budget) == (1, None, 5)


def test_what_is_printed_loads_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "fastgate.toml"
    retry = "{ on = [502], backoff = 0.025, budget = 7, per_try = 1 }"
    path.write_text(FILE.format(lines=f"retry = {retry}"))
    loaded = load(str(path), {}, {})
    printed = render(loaded)
    path.write_text(printed)

    assert (
        'retry = { on = [502], backoff = "25ms", budget = "7%", per_try = "1s" }'
        in printed
    )
    assert load(str(path), {}, {}).config == loaded.config
