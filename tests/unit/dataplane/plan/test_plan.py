"""The plan refuses what would make the data plane read where it must not."""

from __future__ import annotations

from typing import Any

import pytest

from fastgate._core import Plan
from fastgate.config.model import Config
from fastgate.control.plan import make_plan


class Silent:
    def debug(self, message: str) -> None: ...

    info = warning = alert = debug


def values(*endpoints: str, **settings: Any) -> dict[str, Any]:
    """The arguments of Plan for one listener, upstream and route."""
    config = Config.model_validate(
        {
            "gateway": settings,
            "listeners": {"main": {"addresses": ["127.0.0.1:0"]}},
            "upstreams": {"main": {"endpoints": list(endpoints)}},
            "routes": [{"name": "main", "upstream": "main"}],
        }
    )
    plan = make_plan(config, [], Silent())
    return {
        "gateway": dict(plan.gateway),
        "listeners": [
            {
                "name": "main",
                "port": 80,
                "scheme": "http",
                "is_shared": False,
                "refused_methods": (),
            }
        ],
        "upstreams": [dict(one) for one in plan.upstreams],
        "routes": [dict(one) for one in plan.routes],
    }


def test_a_plan_refuses_a_method_that_no_request_could_have() -> None:
    given = values("127.0.0.1:1")
    for name in ("", "X" * 33):
        given["listeners"][0]["refused_methods"] = [name]
        with pytest.raises(ValueError, match="refused_methods"):
            Plan(**given)


@pytest.mark.parametrize("upstream", [-1, 1])
def test_a_plan_refuses_a_route_to_an_upstream_that_is_not_there(upstream: int) -> None:
    given = values("127.0.0.1:1")
    given["routes"][0]["upstream"] = upstream

    with pytest.raises(IndexError, match="upstream"):
        Plan(**given)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_header", 0),
        ("max_header", 1 << 30),
        ("max_headers", 0),
        ("max_headers", 1 << 20),
    ],
)
def test_a_plan_refuses_limits_that_its_buffers_do_not_keep(
    key: str, value: int
) -> None:
    given = values("127.0.0.1:1")
    given["gateway"][key] = value

    with pytest.raises(ValueError, match=key):
        Plan(**given)


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("gateway", "ambiguous_paths"),
        ("gateway", "underscores"),
        ("gateway", "access_log_format"),
        ("upstreams", "balance"),
        ("upstreams", "hash_key"),
        ("routes", "ambiguous_paths"),
    ],
)
def test_a_plan_names_the_key_of_a_word_that_it_does_not_know(
    part: str, key: str
) -> None:
    given = values("127.0.0.1:1")
    rows = given[part] if isinstance(given[part], list) else [given[part]]
    rows[0][key] = "unheard-of"

    with pytest.raises(ValueError, match=f"^{key}: 'unheard-of' is not one of "):
        Plan(**given)


@pytest.mark.parametrize("key", ["request_rules", "response_rules"])
def test_a_plan_has_no_more_rules_of_a_head_than_it_can_track(key: str) -> None:
    given = values("127.0.0.1:1")
    given["routes"][0][key] = [("set", f"X-{i}", "") for i in range(64)]
    Plan(**given)
    given["routes"][0][key].append(("set", "X-64", ""))

    with pytest.raises(ValueError, match=f"^{key}: more than 64$"):
        Plan(**given)


def test_a_plan_names_the_rules_of_an_operation_that_it_does_not_know() -> None:
    given = values("127.0.0.1:1")
    given["routes"][0]["request_rules"] = [("unset", "X-A", "")]

    with pytest.raises(ValueError, match=r"^request_rules: 'unset' is not one of "):
        Plan(**given)


def test_a_plan_refuses_a_trusted_proxy_that_is_no_address() -> None:
    given = values("127.0.0.1:1")
    given["gateway"]["trusted_proxies"] = ["300.0.0.1/8"]

    with pytest.raises(ValueError, match="trusted_proxies"):
        Plan(**given)


def test_a_plan_takes_unix_among_the_trusted() -> None:
    given = values("127.0.0.1:1")
    given["gateway"]["trusted_proxies"] = ["unix", "10.0.0.0/8"]

    Plan(**given)


def test_an_unresolved_endpoint_has_a_place_in_the_plan() -> None:
    given = values("127.0.0.1:1")
    given["upstreams"][0]["endpoints"][0] |= {"host": None, "up": False}

    Plan(**given)


# --- answers of the gateway's own -----------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"answer": 3}, "answer: 3"),
        ({"answer": -1}, "answer: -1"),
        ({"answer": 1, "status": 199, "body": b""}, "status: 199"),
        ({"answer": 1, "status": 600, "body": b""}, "status: 600"),
        ({"answer": 2, "status": 302, "location": [b"/", 4]}, "location: 4"),
        ({"answer": 2, "status": 302, "location": [-1]}, "location: -1"),
    ],
)
def test_an_answer_that_the_data_plane_does_not_know_is_refused(
    changes: dict[str, Any], fault: str
) -> None:
    given = values("127.0.0.1:1")
    given["routes"][0].update(changes)

    with pytest.raises(ValueError, match=fault):
        Plan(**given)


@pytest.mark.parametrize("pages", [{502: 1}, {502: -1}, {399: 0}, {600: 0}])
@pytest.mark.parametrize("place", ["gateway", "route"])
def test_an_error_page_out_of_range_is_refused(
    pages: dict[int, int], place: str
) -> None:
    given = values("127.0.0.1:1")
    given["gateway"]["pages"] = [("text/plain", b"page")]
    holder = given["gateway"] if place == "gateway" else given["routes"][0]
    holder["error_pages"] = pages

    with pytest.raises(IndexError, match="error_pages"):
        Plan(**given)


def test_only_a_route_that_answers_itself_needs_no_upstream() -> None:
    given = values("127.0.0.1:1")
    given["routes"][0]["upstream"] = -1
    with pytest.raises(IndexError, match="upstream"):
        Plan(**given)

    given["routes"][0].update(answer=1, status=404, body=None)
    Plan(**given)
