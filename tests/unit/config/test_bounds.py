"""The configuration's numbers and the compiled ones are the same."""

import pytest
from fastgate.dataplane.balance.policies import POLICIES

from fastgate._core import LIMITS
from fastgate.config import bounds
from fastgate.config.knobs import KNOBS
from fastgate.config.knobs.upstream import BALANCES


def test_every_policy_of_compiled_code_has_a_name_and_the_other_way_round() -> None:
    assert list(BALANCES) == list(POLICIES)


@pytest.mark.parametrize("name", list(LIMITS))
def test_a_bound_of_the_configuration_is_the_one_of_compiled_code(name: str) -> None:
    assert getattr(bounds, name) == LIMITS[name]


def test_a_knob_reaches_as_far_as_compiled_code_and_no_further() -> None:
    assert KNOBS["workers"].high == LIMITS["WORKERS"]
    assert KNOBS["retries"].high == LIMITS["TRIES"] - 2
    assert KNOBS["max_header"].high == LIMITS["HEAD_BYTES"]
    assert KNOBS["max_target"].high == LIMITS["HEAD_BYTES"]
    assert KNOBS["max_headers"].high < LIMITS["HEAD_FIELDS"]
    assert KNOBS["max_response_headers"].high < LIMITS["HEAD_FIELDS"]
    assert KNOBS["max_response_header"].high == LIMITS["ANSWER_HEAD_BYTES"]
    assert KNOBS["access_log_buffer"].low == LIMITS["LEAST_LOG_BUFFER_BYTES"]
