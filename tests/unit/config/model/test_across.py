"""What the tables of a configuration may not say together."""

from pathlib import Path

import pytest
from support.toml import SMALL as GOOD

from fastgate.config import bounds, machine
from fastgate.config.address import parse_address
from fastgate.config.load import load
from fastgate.config.model.across import covers
from fastgate.errors import ConfigError


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "fastgate.toml"
    path.write_text(text)
    try:
        load(str(path), {}, {})
    except ConfigError as error:
        return [str(p).removeprefix(f"{path}:") for p in error.problems]
    return []


@pytest.fixture
def machine_of_two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = frozenset({"127.0.0.1", "192.0.2.7", "2001:db8::7"})
    monkeypatch.setattr(machine, "own_addresses", lambda: addresses)


# -- loops


@pytest.mark.parametrize(
    ("listener", "endpoint"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "[::ffff:127.0.0.1]:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.9.9.9:80"),
        ("0.0.0.0:80", "192.0.2.7:80"),
        (":80", "0.0.0.0:80"),
        ("[::]:80", "[::1]:80"),
        ("[::]:80", "[2001:db8::7]:80"),
        ("[::1]:80", "[::]:80"),
        ("localhost:80", "localhost:80"),
        ("unix:/run/a.sock", "unix:/run/../run/a.sock"),
    ],
)
@pytest.mark.usefixtures("machine_of_two_addresses")
def test_an_endpoint_that_a_listener_covers_is_seen(
    listener: str, endpoint: str
) -> None:
    assert covers(
        parse_address(listener, listening=True),
        parse_address(endpoint, listening=False),
    )


@pytest.mark.parametrize(
    ("listener", "endpoint"),
    [
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("0.0.0.0:80", "192.0.2.8:80"),
        ("0.0.0.0:80", "[::1]:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("[::]:80", "[2001:db8::8]:80"),
        ("192.0.2.7:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "unix:/run/a.sock"),
        ("unix:/run/a.sock", "unix:/run/b.sock"),
        ("localhost:80", "other:80"),
    ],
)
@pytest.mark.usefixtures("machine_of_two_addresses")
def test_an_endpoint_elsewhere_is_no_loop(listener: str, endpoint: str) -> None:
    assert not covers(
        parse_address(listener, listening=True),
        parse_address(endpoint, listening=False),
    )


def test_a_loop_is_told_at_the_endpoint(tmp_path: Path) -> None:
    text = GOOD.replace("127.0.0.1:8080", ":9001")

    (found,) = problems(tmp_path, text)

    assert found == (
        "4:14: endpoints[0]: '127.0.0.1:9001' is this gateway's own listener 'web':"
        " requests would go round until descriptors are gone"
    )


# -- redirects

LISTENERS = "[listeners.{name}]\naddress = '{address}'\n"
ROUTE = "[[routes]]\nname = '{name}'\nmatch = {match}\nredirect.to = '{to}'\n"


def redirecting(to: str, match: str, *addresses: str, other: str = "") -> str:
    text = "".join(
        LISTENERS.format(name=f"l{i}", address=address)
        for i, address in enumerate(addresses)
    )
    if other:
        text += f"[[routes]]\nname = 'other'\nmatch = {other}\nrespond.status = 200\n"
    return text + ROUTE.format(name="around", match=match, to=to)


@pytest.mark.parametrize(
    ("to", "match"),
    [
        ("{scheme}://{host}{path}{query}", "{}"),
        ("http://{host}{path}", "{}"),
        ("HTTP://{host}:80{path}?a=b", "{}"),
        ("http://A.example{path}", "{ host = 'a.example' }"),
        ("http://www.a.example{path}", "{ host = '*.a.example' }"),
        ("{scheme}://{host}", "{ path = '/' }"),
        ("{path}?a=b", "{}"),
        ("{path}#a", "{}"),
        ("/a{query}", "{ path = '/a' }"),
        ("/a", "{ path_prefix = '/a' }"),
        ("/a/b?c", "{ path_prefix = '/a/' }"),
        ("/%61", "{}"),
    ],
)
def test_a_redirect_that_leads_back_to_its_route_is_refused(
    tmp_path: Path, to: str, match: str
) -> None:
    (found,) = problems(tmp_path, redirecting(to, match, ":80"))

    assert found == ("6:10: to: leads back to this route: clients would go round in it")


@pytest.mark.parametrize(
    ("to", "match", "other"),
    [
        ("https://{host}{path}{query}", "{}", ""),
        ("http://www.{host}{path}", "{}", ""),
        ("http://{host}:81{path}", "{}", ""),
        ("http://{host}/a{path}", "{}", ""),
        ("http://b.example{path}", "{}", ""),
        ("http://b.example{path}", "{ host = 'a.example' }", ""),
        ("http://a.example{path}", "{ host = '*.a.example' }", ""),
        ("http://b.a.example/", "{ host = '*.a.example' }", "{ host = 'b.a.example' }"),
        ("/b", "{ path = '/a' }", ""),
        ("/ab", "{ path_prefix = '/a' }", ""),
        ("/a", "{ path_prefix = '/a/' }", ""),
        ("/a/b", "{}", "{ path_prefix = '/a' }"),
        ("/a", "{ path_prefix = '/a' }", "{ path = '/a' }"),
        ("/a/../b", "{}", ""),
    ],
)
def test_a_redirect_to_elsewhere_is_taken_without_a_word(
    tmp_path: Path, to: str, match: str, other: str
) -> None:
    path = tmp_path / "fastgate.toml"
    path.write_text(redirecting(to, match, ":80", other=other))

    assert load(str(path), {}, {}).warnings == ()


@pytest.mark.parametrize(
    "addresses", [[":8080"], [":80", ":8080"], [":80", "unix:/run/a.sock"]]
)
def test_a_redirect_that_may_lead_back_is_a_warning(
    tmp_path: Path, addresses: list[str]
) -> None:
    path = tmp_path / "fastgate.toml"
    path.write_text(redirecting("{scheme}://{host}{path}{query}", "{}", *addresses))
    (warning,) = load(str(path), {}, {}).warnings

    assert warning.endswith(
        ":10: to: may lead back to this route: its port is not that of every listener"
    )


def test_other_faults_do_not_hide_a_redirect_that_leads_back(tmp_path: Path) -> None:
    text = redirecting("{path}?a", "{}", ":80") + "deadline = 'never'\n"

    assert len(problems(tmp_path, text)) == 2


# -- addresses


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ("'127.0.0.1:80', '127.0.0.1:80'", "'127.0.0.1:80' is already listened on by"),
        ("':80', '127.0.0.1:80'", "by 'web' as '0.0.0.0:80'"),
        ("'192.0.2.1:80', ':80'", "'0.0.0.0:80' is already listened on by 'web' as"),
        ("'[::]:80', '[::1]:80'", "'[::1]:80' is already listened on by 'web' as"),
        ("'unix:/run/a', 'unix:/run/../run/a'", "by 'web' as 'unix:/run/a'"),
        ("':80', '[::]:80', '[::1]:81', 'unix:/run/a'", None),
        ("':0', '127.0.0.1:0', 'localhost:80', 'other:80'", None),
    ],
)
def test_an_address_is_listened_on_once(
    tmp_path: Path, addresses: str, message: str | None
) -> None:
    text = GOOD.replace('address = "127.0.0.1:8080"', f"addresses = [{addresses}]")

    found = problems(tmp_path, text)

    assert len(found) == (message is not None)
    assert all(message in one for one in found if message)


# -- room


def rules(count: int, size: int = 1) -> str:
    fields = ", ".join(f"X-{n} = '{'v' * size}'" for n in range(count))
    return f"{{ set = {{ {fields} }} }}"


@pytest.mark.parametrize("table", ["request_headers", "response_headers"])
def test_more_header_rules_than_a_head_is_written_with_are_refused(
    tmp_path: Path, table: str
) -> None:
    most = f"{GOOD}{table} = {rules(bounds.HEADER_RULES)}\n"
    more = f"{GOOD}{table} = {rules(bounds.HEADER_RULES + 1)}\n"

    assert problems(tmp_path, most) == []
    assert problems(tmp_path, more) == [f"8:1: {table}: 65 rules are more than 64"]


def test_rules_larger_than_a_head_of_the_largest_size_leaves_are_refused(
    tmp_path: Path,
) -> None:
    text = f"{GOOD}response_headers = {rules(6, 8000)}\n"
    less = "[gateway]\nmax_response_header = '16k'\n"

    (found,) = problems(tmp_path, text)

    assert found.startswith(
        "8:1: response_headers: 48042 bytes of fields are more than"
    )
    assert "max_response_header = 65536" in found
    assert problems(tmp_path, text + less) == []


def test_more_endpoints_than_the_shared_memory_has_are_refused(tmp_path: Path) -> None:
    hosts = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1" for n in range(65537)]
    text = GOOD.replace('["127.0.0.1:9001"]', str(hosts[:-1]))
    more = GOOD.replace('["127.0.0.1:9001"]', str(hosts))

    assert problems(tmp_path, text) == []
    assert problems(tmp_path, more) == [
        "4:1: endpoints: more than 65536 endpoints in all upstreams"
    ]


def test_more_workers_than_the_shared_memory_has_rows_for_are_refused(
    tmp_path: Path,
) -> None:
    (found,) = problems(tmp_path, GOOD + "[gateway]\nworkers = 257\n")

    assert found == "9:1: workers: 257 is outside 1..256 or 'auto'"


def test_a_log_buffer_too_small_for_a_line_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, GOOD + "[gateway]\naccess_log_buffer = '8k'\n")

    assert found == "9:1: access_log_buffer: '8k' is outside 16k..16m"


def test_a_machine_of_many_cpus_has_as_many_workers_as_there_are_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "affinity_cpus", lambda: 1000)
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: 0)

    assert machine.usable_cpus() == bounds.WORKERS


# -- header tables


def test_every_fault_of_a_header_table_is_told_at_once(tmp_path: Path) -> None:
    text = (
        GOOD + "[routes.response_headers.set]\n"
        "'a b' = '1'\nHost = '2'\nX-A = 3\nX-B = 'x'\nx-b = 'y'\n"
    )

    assert problems(tmp_path, text) == [
        "9:1: set: 'a b' is not a header name (RFC 9110 5.6.2)",
        "10:1: set: 'Host' frames the message: no rule may touch it: use the"
        " route's host",
        "11:1: set: the value of 'X-A' is not a text",
        "13:1: set: 'x-b' and 'X-B' are the same header",
    ]


def test_a_dollar_in_a_header_value_is_kept_for_variables(tmp_path: Path) -> None:
    text = GOOD + "request_headers = { set = { X-Real-IP = '$remote_addr' } }\n"

    (found,) = problems(tmp_path, text)

    assert found == (
        "8:29: set: the value of 'X-Real-IP' holds a '$': it is kept for variables,"
        " which this release does not have"
    )
