from dataclasses import replace
from pathlib import Path

import pytest
from load import report
from load.report import BARS, Case, Measured, Results, Round

BROWSER = Case(scenario="browser", connections=64, workers=1)
NEWCONN = Case(scenario="newconn", connections=64, workers=1)


def a_round(cpu_us: float, complaint: str = "") -> Round:
    return Round(
        cpu_us=cpu_us,
        user_us=cpu_us / 4,
        system_us=cpu_us * 3 / 4,
        requests_per_s=1e6 / cpu_us,
        p50_us=1000.0,
        p99_us=2000.0,
        busy_percent=99.0,
        complaint=complaint,
    )


def measured(peer: str, *cpu_us: float, case: Case = BROWSER) -> Measured:
    return Measured(case=case, peer=peer, rounds=[a_round(c) for c in cpu_us])


def results_of(*all_measured: Measured) -> Results:
    return {all_measured[0].case: {m.peer: m for m in all_measured}}


def test_a_ratio_pairs_the_rounds_so_that_drift_cancels_out() -> None:
    # The machine gets 10 times slower; fastgate is always at 0.5 but once.
    results = results_of(
        measured("nginx", 10.0, 20.0, 100.0), measured("fastgate", 5.0, 10.0, 90.0)
    )

    assert report.ratio(results, BROWSER, "fastgate", "nginx") == 0.5


def test_an_invalid_round_counts_neither_in_medians_nor_in_ratios() -> None:
    nginx = measured("nginx", 10.0, 10.0, 10.0)
    fastgate = measured("fastgate", 5.0, 5.0)
    fastgate.rounds.insert(1, a_round(1.0, "3 socket errors"))
    results = results_of(nginx, fastgate)

    assert fastgate.median("cpu_us") == 5.0
    assert report.ratio(results, BROWSER, "fastgate", "nginx") == 0.5
    assert "2/3  3 socket errors" in report.table(results)


def test_a_peer_without_a_valid_round_has_no_figures() -> None:
    broken = measured("nginx")
    broken.rounds.append(a_round(1.0, "no answer at all"))
    results = results_of(broken, measured("fastgate", 5.0))

    assert broken.median("cpu_us") is None
    assert report.ratio(results, BROWSER, "fastgate", "nginx") is None


def test_the_table_aligns_its_columns_and_says_who_is_absent() -> None:
    absent = Measured(case=BROWSER, peer="floor", absent="cannot do this")
    results = results_of(measured("nginx", 18.6), measured("fastgate", 9.3), absent)

    head, blank, nginx, fastgate, floor = report.table(results).splitlines()

    assert blank == ""
    assert nginx.index("18.6") == fastgate.index(" 9.3")
    assert head.index("/nginx") + len("/nginx") == nginx.index("1.00") + len("1.00")
    assert fastgate.split()[:5] == ["browser", "c64", "w1", "fastgate", "9.3"]
    assert "0.50" in fastgate
    assert floor.endswith("absent: cannot do this")


def test_an_empty_line_parts_the_cases() -> None:
    results = results_of(measured("nginx", 18.6))
    results |= results_of(measured("nginx", 40.0, case=NEWCONN))

    assert [bool(line) for line in report.table(results).splitlines()] == [
        True, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(("fastgate_us", "verdict"), [(7.1, "kept"), (7.2, "missed")])
def test_the_first_bar_stands_at_1_4_times_cheaper_than_nginx(
    fastgate_us: float, verdict: str
) -> None:
    results = results_of(measured("nginx", 10.0), measured("fastgate", fastgate_us))

    assert BARS[0].verdict(results)[0] == verdict


def test_bars_are_kept_only_when_all_asked_for_were_measured() -> None:
    nginx, haproxy = measured("nginx", 20.0), measured("haproxy", 20.0)
    floor, fastgate = measured("floor", 13.0), measured("fastgate", 14.0)

    assert report.bars_text(results_of(nginx, haproxy, floor, fastgate))[1]
    text, kept = report.bars_text(results_of(nginx, haproxy, fastgate))
    assert not kept
    assert "not measured  browser-like GET: at most 1.15x the floor" in text


def test_no_bar_at_all_is_not_a_success() -> None:
    case = replace(BROWSER, connections=8)

    assert report.bars_text(results_of(measured("nginx", 1.0, case=case))) == (
        "",
        False,
    )


def test_json_holds_raw_rounds_ratios_and_verdicts() -> None:
    results = results_of(measured("nginx", 10.0), measured("fastgate", 5.0))

    told = report.as_json(results, {"cpu": "x"})

    fastgate = told["results"][1]
    assert fastgate["peer"] == "fastgate"
    assert fastgate["ratios"] == {"nginx": 0.5, "haproxy": None, "floor": None}
    assert fastgate["rounds"][0]["cpu_us"] == 5.0
    assert [bar["verdict"] for bar in told["bars"]].count("kept") == 1


def test_the_plot_is_a_png_even_with_a_peer_that_has_no_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    absent = Measured(case=BROWSER, peer="floor", absent="cannot do this")
    path = tmp_path / "plot.png"

    report.plot(results_of(measured("nginx", 10.0), absent), path, "a machine")

    assert path.read_bytes().startswith(b"\x89PNG")
