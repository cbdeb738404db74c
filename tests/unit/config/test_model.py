import os

import pytest
from pydantic import ValidationError

from fastgate.config import machine
from fastgate.config.knob import parse_eject
from fastgate.config.knobs import KNOBS
from fastgate.config.knobs.upstream import BALANCES
from fastgate.config.model import (
    Config,
    Gateway,
    HeaderRules,
    Listener,
    Match,
    Route,
    Upstream,
)


def test_every_knob_is_a_field_of_the_gateway_in_the_same_order() -> None:
    assert list(Gateway.model_fields) == [*KNOBS, "error_pages"]


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.key)
def test_every_knob_describes_itself_in_the_schema(knob) -> None:
    schema = Gateway.model_json_schema()["properties"][knob.key]

    assert schema["description"].startswith(knob.help)
    assert knob.default_text in schema["description"]
    assert schema["x-metavar"] == knob.metavar
    assert schema["x-flag"] == knob.flag


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.key)
def test_the_scopes_of_a_knob_are_the_models_that_have_it(knob) -> None:
    models = {"listener": Listener, "upstream": Upstream, "route": Route}

    assert set(knob.scopes) == {
        scope for scope, model in models.items() if knob.key in model.model_fields
    }


def test_the_defaults_are_those_of_the_contract() -> None:
    gateway = Gateway()

    assert gateway.drain == 30_000
    assert gateway.keepalive == 75_000
    assert gateway.max_header == 32 << 10
    assert gateway.max_body == 10 << 20
    assert gateway.min_rate == 240
    assert gateway.retry_budget == 20
    assert parse_eject(gateway.eject) == (5, 10_000)
    assert gateway.nofile == "auto"
    assert gateway.access_log == "off"
    assert gateway.trusted_proxies == ()


def test_the_balances_are_those_of_the_table() -> None:
    assert Upstream.model_json_schema()["properties"]["balance"]["enum"] == list(
        BALANCES
    )


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Gateway().workers = 3  # type: ignore[misc]


def test_eject_off_never_ejects() -> None:
    assert parse_eject(Gateway(eject="off").eject) == (0, 0)


def test_an_upstream_that_says_nothing_inherits() -> None:
    upstream = Upstream(endpoints=["a:1"])

    assert upstream.connect_timeout is None
    assert upstream.eject is None


def test_idle_connections_are_given_up_before_services_usually_close_them() -> None:
    assert Gateway().upstream_idle < 60_000
    assert Gateway().upstream_pool >= 1000


def test_a_key_stays_where_it_is_unless_a_bound_is_asked_for() -> None:
    upstream = Upstream(endpoints=["a:1"], balance="hash", hash_key="query:user")

    assert upstream.hash_key == "query:user"
    assert upstream.hash_bound == 0


@pytest.mark.parametrize(
    ("raw", "over_ms"), [("30s", 30_000), (1, 1_000), ("1h", 3_600_000), (0, 0)]
)
def test_slow_start_is_a_duration_or_off(raw: object, over_ms: int) -> None:
    assert Upstream(endpoints=["a:1"], slow_start=raw).slow_start == over_ms


@pytest.mark.parametrize("raw", ["999ms", "1h1s", "-1s"])
def test_slow_start_out_of_bounds_is_refused(raw: str) -> None:
    with pytest.raises(ValidationError, match=r"outside 1s\.\.1h, or 0: at once"):
        Upstream(endpoints=["a:1"], slow_start=raw)


@pytest.mark.parametrize("key", ["query:", "query:a&b", "query:a=b", "query:a%20b"])
def test_a_parameter_to_hash_by_is_one_that_a_query_can_hold(key: str) -> None:
    with pytest.raises(ValidationError, match="query:NAME"):
        Upstream(endpoints=["a:1"], balance="hash", hash_key=key)


def test_workers_auto_is_what_the_machine_allows(monkeypatch) -> None:
    monkeypatch.setattr(machine, "affinity_cpus", lambda: 8)
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: 3)

    assert Gateway().workers == 3
    assert Gateway().pin is False


def test_workers_are_pinned_when_there_is_a_cpu_for_each(monkeypatch) -> None:
    monkeypatch.setattr(machine, "affinity_cpus", lambda: 4)
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: 0)

    assert Gateway().pin is True
    assert Gateway(workers=3).pin is False
    assert Gateway(workers=3, pin="on").pin is True


def test_connections_are_counted_from_open_files() -> None:
    assert Gateway(nofile=1064).max_conns == 500
    assert Gateway(max_conns=7).max_conns == 7


def test_the_default_target_fits_a_smaller_head() -> None:
    assert Gateway(max_header="8k").max_target == 8 << 10


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 0),
        ({"cpu.max": "max 100000"}, 0),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "800000 100000", "pod/cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "100000 100000", "pod/cpu.max": "400000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 0),
    ],
)
def test_the_quota_of_the_cgroup_is_rounded_up_to_cpus(tmp_path, files, cpus) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("0::/pod\n")
    root = tmp_path / "cgroup"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    assert machine.cgroup_cpus(root, tmp_path) == cpus


@pytest.mark.parametrize(
    ("given", "held"), [("pass", "pass"), ("", "pass"), ("off", "off"), ("x/1", "x/1")]
)
def test_an_empty_server_header_passes_the_upstreams_own(given: str, held: str) -> None:
    assert Gateway(server_header=given).server_header == held


def test_a_server_header_leaves_an_answer_of_ours_its_room() -> None:
    assert Gateway(server_header="x" * 256).server_header == "x" * 256
    for text in ("x" * 257, "ä" * 129):
        with pytest.raises(ValidationError, match="longer than 256 bytes"):
            Gateway(server_header=text)


@pytest.mark.parametrize("name", ["edge", "edge-1.example:8080", "a" * 64])
def test_via_may_call_the_gateway_a_name_with_a_port(name: str) -> None:
    assert Gateway(via_name=name).via_name == name


@pytest.mark.parametrize(
    "name", ["a b", "a,b", "a(b)", "a:", "a:b", "a:123456", "[::1]:80", "a" * 65, "é"]
)
def test_a_name_that_via_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="NAME or NAME:PORT"):
        Gateway(via_name=name)


def test_the_machine_is_told_by_name_id_boot_and_network(tmp_path) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/net").symlink_to("net:[7]")
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("0-1\n")
    (tmp_path / "machine-id").write_text("abc\n")

    name = os.uname().nodename
    assert machine.identity(tmp_path, tmp_path) == f"{name}\nabc\n0-1\nnet:[7]"
    assert machine.identity(tmp_path / "none", tmp_path / "none") == f"{name}\n\n\n"
    assert machine.identity() == machine.identity()


@pytest.mark.parametrize("text", ["a\r\nX: y", "a\nb", "a\x00"])
def test_a_server_header_cannot_split_the_head(text: str) -> None:
    with pytest.raises(ValidationError):
        Gateway(server_header=text)


@pytest.mark.parametrize(
    "value", ["a\rb", "a\nb", "a\x00b", "a\x7fb", "a\x85b", " a", "a "]
)
@pytest.mark.parametrize("table", ["set", "add"])
def test_a_header_value_cannot_split_the_head(table: str, value: str) -> None:
    with pytest.raises(ValidationError):
        HeaderRules(**{table: {"X-A": value}})


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a:",
        "ä",
        "a\r\n",
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "HOST",
        "Upgrade",
        "TE",
        "Trailer",
        "Keep-Alive",
    ],
)
@pytest.mark.parametrize("table", ["set", "add", "remove"])
def test_a_header_name_is_a_token_and_frames_nothing(table: str, name: str) -> None:
    rules = [name] if table == "remove" else {name: "x"}
    with pytest.raises(ValidationError):
        HeaderRules(**{table: rules})


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ("Example.COM.", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("[::1]", "[::1]"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_host_to_match_is_held_in_lower_case(given: str, held: str) -> None:
    assert Match(host=given).host == held


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "a.*.b", "**.a", "a/b", "a:1", "[x]", "a b"]
)
def test_what_could_be_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        Match(host=host)


@pytest.mark.parametrize(
    "host", ["keep", "upstream", "example.com", "example.com:8080", "[::1]", "[::1]:80"]
)
def test_a_route_may_name_the_host_it_sends(host: str) -> None:
    assert Route(name="a", upstream="u", host=host).host == host


@pytest.mark.parametrize("host", ["", "a b", "a\r\nb", "a/b", "a:x", "::1"])
def test_a_route_cannot_send_what_is_no_host(host: str) -> None:
    with pytest.raises(ValidationError):
        Route(name="a", upstream="u", host=host)


def test_a_configuration_built_directly_is_checked_across() -> None:
    with pytest.raises(ValidationError, match="there is no upstream 'b'"):
        Config(
            listeners={"a": Listener(address=":1")},
            upstreams={"a": Upstream(endpoints=["a:1"])},
            routes=[Route(name="a", upstream="b")],
        )


def test_two_listeners_may_leave_the_port_to_the_kernel() -> None:
    config = Config(
        listeners={"a": Listener(address="127.0.0.1:0"), "b": Listener(address=":0")},
        upstreams={"a": Upstream(endpoints=["a:1"])},
        routes=[Route(name="a", upstream="a")],
    )

    assert len(config.listeners) == 2


def test_the_prefix_of_everything_is_the_same_as_no_match() -> None:
    with pytest.raises(ValidationError, match="matches the same requests"):
        Config(
            listeners={"a": Listener(address=":1")},
            upstreams={"a": Upstream(endpoints=["a:1"])},
            routes=[
                Route(name="a", upstream="a"),
                Route(name="b", upstream="a", match=Match(path_prefix="/")),
            ],
        )
