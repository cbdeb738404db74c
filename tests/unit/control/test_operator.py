"""An operator's order: read whole, or refused."""

import json

import pytest

from fastgate.control.operator import MOST_ORDER_BYTES, RefusedError, read_order

UPSTREAMS = [
    {
        "name": "users",
        "endpoints": [
            {"address": "10.0.0.1:9000", "index": 4},
            {"address": "10.0.0.2:9000", "index": 7},
        ],
    }
]


def order(**given):
    whole = {"command": "drain", "upstream": "users", "addresses": ["10.0.0.1:9000"]}
    return read_order(json.dumps(whole | given).encode(), UPSTREAMS)


def test_an_order_names_the_slots_of_its_endpoints_each_once():
    addresses = ["10.0.0.2:9000", "10.0.0.1:9000", "10.0.0.2:9000"]

    assert [one["index"] for one in order(addresses=addresses).endpoints] == [7, 4]


@pytest.mark.parametrize("command", [[], {}, None, 1, "drains", ""])
def test_a_command_that_is_none_is_refused_with_those_there_are(command):
    with pytest.raises(RefusedError, match="is not drain, disable, enable, weight"):
        order(command=command)


@pytest.mark.parametrize("weight", [0, 257, -1, True, 1.5, "3", None, [], {}])
def test_a_weight_outside_its_range_is_refused(weight):
    with pytest.raises(RefusedError, match=r"weight: .* is outside 1\.\.256"):
        order(command="weight", weight=weight)


@pytest.mark.parametrize("upstream", ["user", "usersx"])
def test_an_unknown_upstream_is_refused_with_the_nearest(upstream):
    with pytest.raises(RefusedError, match="did you mean 'users'"):
        order(upstream=upstream)


def test_an_unknown_address_is_refused_with_the_nearest():
    with pytest.raises(RefusedError, match=r"did you mean '10\.0\.0\.1:9000'"):
        order(addresses=["10.0.0.2:9000", "10.0.0.1:900"])


@pytest.mark.parametrize("address", [None, 3, [], {}, "", "unix:/\ud800", "[::1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(RefusedError, match="upstream users has no endpoint"):
        order(addresses=[address])


def test_an_order_is_bounded():
    with pytest.raises(RefusedError, match="more than 65536 bytes"):
        read_order(b" " * (MOST_ORDER_BYTES + 1), UPSTREAMS)
