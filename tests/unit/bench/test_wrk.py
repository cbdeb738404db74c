import pytest
from load import wrk

GOOD = """\
Running 3s test @ http://127.0.0.1:40001/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.31ms  412.05us  11.02ms   96.45%
    Req/Sec    49.12k     1.31k   51.44k    83.87%
  Latency Distribution
     50%    1.26ms
     75%    1.41ms
     90%  950.00us
     99%    1.02s 
  151467 requests in 3.10s, 20.80MB read
Requests/sec:  48860.06
Transfer/sec:      6.71MB
"""  # noqa: W291  wrk prints the blank
BAD = GOOD.replace(
    "Requests/sec",
    "  Socket errors: connect 1, read 20, write 300, timeout 4000\n"
    "  Non-2xx or 3xx responses: 17\nRequests/sec",
)


def test_every_figure_of_a_report_is_read_in_microseconds() -> None:
    result = wrk.parse(GOOD)

    assert result == wrk.WrkResult(
        requests=151467,
        seconds=3.1,
        requests_per_s=48860.06,
        p50_us=1260.0,
        p99_us=1020000.0,
    )
    assert result.complaint == ""


def test_a_run_with_errors_says_all_of_them() -> None:
    result = wrk.parse(BAD)

    assert result.socket_errors == 4321
    assert result.bad_statuses == 17
    assert result.complaint == "4321 socket errors, 17 answers not 2xx"


def test_a_run_without_a_single_answer_is_invalid() -> None:
    result = wrk.parse(GOOD.replace("151467 requests", "0 requests"))

    assert result.complaint == "no answer at all"


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [("812.00us", 812.0), ("3.41ms", 3410.0), ("1.50s", 1.5e6), ("2.00m", 120e6)],
)
def test_every_unit_of_wrk_is_known(text: str, expected_us: float) -> None:
    assert wrk.time_us(text) == pytest.approx(expected_us)


@pytest.mark.parametrize("text", ["", "12", "ms", "1.5 ms", "3.0msx"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(wrk.WrkError):
        wrk.time_us(text)


def test_a_report_cut_short_is_an_error_that_shows_it() -> None:
    with pytest.raises(wrk.WrkError, match="Running 3s test"):
        wrk.parse(GOOD.partition("Latency Distribution")[0])
