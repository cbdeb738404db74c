import compare
import pytest
from load.report import Case


def test_browser_is_measured_at_three_connection_counts_and_with_two_workers() -> None:
    cases = compare.cases_of(["get", "browser"], None, None)

    assert cases == [
        Case(scenario="get", connections=64, workers=1),
        Case(scenario="browser", connections=1, workers=1),
        Case(scenario="browser", connections=64, workers=1),
        Case(scenario="browser", connections=1000, workers=1),
        Case(scenario="browser", connections=64, workers=2),
    ]


def test_what_the_command_line_says_holds_for_every_scenario() -> None:
    cases = compare.cases_of(["get", "browser"], [8, 16], 2)

    assert [(c.scenario, c.connections, c.workers) for c in cases] == [
        ("get", 8, 2), ("get", 16, 2), ("browser", 8, 2), ("browser", 16, 2),
    ]  # fmt: skip


def test_every_bar_is_judged_by_a_case_of_the_default_run() -> None:
    cases = compare.cases_of(list(compare.SCENARIOS), None, None)

    assert {bar.case for bar in compare.report.BARS} <= set(cases)


def test_smoke_is_one_short_round_of_every_scenario() -> None:
    options = compare.arguments(["--smoke"])

    assert (options.rounds, options.seconds) == (1, 1)
    cases = compare.cases_of(options.scenario, options.connections, options.workers)
    assert [case.scenario for case in cases] == list(compare.SCENARIOS)


@pytest.mark.parametrize(
    "wrong", [["--peers", "apache"], ["--scenario", "get,set"], ["--workers", "3"]]
)
def test_an_unknown_name_is_a_usage_error(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        compare.arguments(wrong)

    assert stopped.value.code == 2
    assert wrong[1].split(",")[-1] in capsys.readouterr().err
