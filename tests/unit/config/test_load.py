import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toml import SMALL as GOOD

from fastgate.config.dump import quote, render
from fastgate.config.knob import Kind, Knob
from fastgate.config.knobs import KNOBS
from fastgate.config.load import Loaded, _Loader, load
from fastgate.errors import ConfigError, Problem

# Twenty faults, one a line, in every table and of every kind: the line, what the
# message begins with, and what is suggested.
FAULTY: tuple[tuple[str, str, str | None], ...] = (
    ("[gateway]", "", None),
    ("worker = 4", "unknown key 'worker' in [gateway]", "workers"),
    ('pin = "atuo"', "pin: 'atuo' is not auto, on or off", "auto"),
    ('drain = "30sec"', "drain: '30sec' is not a duration", "30s"),
    ('max_header = "61k"', "max_header: '61k' is outside 1k..60k", None),
    ("max_headers = 513", "max_headers: 513 is outside 1..512", None),
    ('max_body = "ten"', "max_body: 'ten' is not a size", None),
    ('retry_budget = "120%"', "retry_budget: '120%' is outside 0%..100%", None),
    ('eject = "5"', "eject: '5' is not FAILURES/DURATION", None),
    ('log_level = "warn"', "log_level: 'warn' is not one of debug,", "warning"),
    (
        'trusted_proxies = ["10.0.0.1/8"]',
        "trusted_proxies: '10.0.0.1/8' has bits set outside its mask",
        "10.0.0.0/8",
    ),
    ('max_target = "70k"', "max_target: '70k' is outside 64..60k", None),
    ("[listeners.web]", "", None),
    ('address = "127.0.0.1"', "address: '127.0.0.1' has no port", "127.0.0.1:80"),
    ("[upstreams.users]", "", None),
    (
        'balance = "least-conn"',
        "balance: 'least-conn' is not one of round-robin,",
        "least-connections",
    ),
    (
        'endpoints = ["10.0.0.1:80", "10.0.0.1:80"]',
        "endpoints[1]: '10.0.0.1:80' is listed twice",
        None,
    ),
    ("retires = 3", "unknown key 'retires' in [upstreams.users]", "retries"),
    ("[[routes]]", "", None),
    ('name = "users"', "", None),
    ('upstream = "user"', "upstream: there is no upstream 'user'", "users"),
    (
        'match = { path = "/a", path_prefix = "/b" }',
        "path_prefix: contradicts path = '/a'",
        None,
    ),
    (
        'request_headers = { set = { "Content-Length" = "1" } }',
        "set: 'Content-Length' frames the message",
        None,
    ),
    ("[[routes]]", "", None),
    ('name = "users"', "name: a second route is named 'users'", None),
    ('upstream = "users"', "", None),
    (
        'response_headers = { add = { "X-A" = "a\\nb" } }',
        "add: the value of 'X-A' holds a control character",
        None,
    ),
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "fastgate.toml"
        path.write_text(text)
        return str(path)

    return write


Write = Callable[[str], str]


def problems(
    path: str | None,
    flags: Mapping[str, str | list[str]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as raised:
        load(path, flags or {}, environ or {})
    return raised.value.problems


def from_flags(flags: Mapping[str, str | list[str]]) -> Loaded:
    base: dict[str, str | list[str]] = {"listen": [":8080"], "upstream": ["a:1"]}
    return load(None, {**base, **flags}, {})


def test_a_file_is_read(write: Write) -> None:
    loaded = load(write(GOOD), {}, {})

    assert loaded.config.listeners["web"].addresses == ("127.0.0.1:8080",)
    assert loaded.config.upstreams["users"].endpoints[0].address == "127.0.0.1:9001"
    assert loaded.config.routes[0].upstream == "users"


def test_twenty_faults_give_twenty_lines_in_the_order_of_the_file(
    write: Write,
) -> None:
    path = write("".join(f"{line}\n" for line, _, _ in FAULTY))
    wanted = [
        (number, message, suggestion)
        for number, (_, message, suggestion) in enumerate(FAULTY, 1)
        if message
    ]

    found = problems(path)

    assert len(wanted) == 20
    assert [(p.line, p.suggestion) for p in found] == [(w[0], w[2]) for w in wanted]
    for problem, (line, message, suggestion) in zip(found, wanted, strict=True):
        text = str(problem)
        hint = f"; did you mean '{suggestion}'?" if suggestion else ""
        assert text.startswith(f"{path}:{line}:{problem.column}: {message}")
        assert text.endswith(hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "workers = 2\n" + GOOD,
            "1:1: unknown key 'workers' in the top of the file;"
            " it belongs in [gateway]",
        ),
        (
            "[upstream.a]\n" + GOOD,
            "1:2: unknown key 'upstream' in the top of the file;"
            " did you mean 'upstreams'?",
        ),
        ("gateway = 1\n" + GOOD, "1:1: gateway: 1 is not a table"),
        (GOOD + "[upstreams.b]\n", "8:12: missing key 'endpoints' in [upstreams.b]"),
        (GOOD + "[upstreams.b]\nendpoints = []\n", "9:1: endpoints: is empty"),
        (
            GOOD + "[upstreams.b]\nendpoints = 'a:1'\nkeepalive = 1\n",
            "10:1: unknown key 'keepalive' in [upstreams.b]; it belongs in [gateway]",
        ),
        (
            GOOD + "[[routes]]\nname = 'b'\nupstream = 5\nmatch.path = '/'\n",
            "10:1: upstream: 5 is not a text",
        ),
        (
            GOOD + "[[routes]]\nupstream = 'users'\nmatch.path = '/'\n",
            "8:3: missing key 'name' in [[routes]]",
        ),
        (
            GOOD + "[[routes]]\nname = 'b'\nupstream = 'users'\n",
            "8:3: routes[1]: matches the same requests as route 'users'",
        ),
        (
            GOOD + "match = { hots = 'a' }\n",
            "8:11: unknown key 'hots' in match of [[routes]]; did you mean 'host'?",
        ),
        (
            GOOD + "[listeners.b]\naddress = '127.0.0.1:8080'\n",
            "9:1: address: '127.0.0.1:8080' is already listened on by 'web'",
        ),
        (
            GOOD + "[listeners.b]\naddress = ':1'\naddresses = [':2']\n",
            "9:1: address: contradicts addresses",
        ),
        (
            GOOD + "[listeners.b]\naddress = ':1'\nprotocol = 'htp'\n",
            "10:1: protocol: 'htp' is not one of http; did you mean 'http'?",
        ),
        (
            GOOD + '[upstreams."a b"]\nendpoints = ["a:1"]\n',
            "8:12: a b: 'a b' is not a name",
        ),
        (
            GOOD + "[upstreams.b]\nendpoints = ['a:1']\nhash_key = 'path'\n",
            "10:1: hash_key: means nothing with balance = 'round-robin'",
        ),
        (
            GOOD
            + "[upstreams.b]\nendpoints = ['a:1']\n"
            + "balance = 'hash'\nhash_key = 'heder:X'\n",
            "11:1: hash_key: 'heder:X' is not client, path, header:NAME, cookie:NAME or"
            " query:NAME; did you mean 'header:X'?",
        ),
        (
            GOOD + "[upstreams.b]\nendpoints = ['a:1;weights=2']\n",
            "9:14: endpoints[0]: 'weights=2' in 'a:1;weights=2' is not ';weight=N'",
        ),
        (
            GOOD + "[upstreams.b]\nendpoints = [{ address = 'a:1', weight = 0 }]\n",
            "9:33: weight: 0 is outside 1..256",
        ),
        (
            GOOD + "[gateway]\nnofile = 100\nmax_conns = 200\n",
            "10:1: max_conns: 200 connections per worker need more open files than",
        ),
        (
            GOOD + "[listeners.b]\naddress = '*:80'\n",
            "9:1: address: '*:80': every IPv4 address is written 0.0.0.0, every IPv6"
            " [::]; did you mean '0.0.0.0:80'?",
        ),
        (
            GOOD + "[listeners.b]\naddress = 8081\n",
            "9:1: address: 8081 is not an address: write host:port; did you mean"
            " ':8081'?",
        ),
        (
            GOOD + "[listeners.b]\naddress = '8081'\n",
            "9:1: address: '8081' has no port: write host:port; did you mean ':8081'?",
        ),
        (
            GOOD + "[upstreams.b]\nendpoints = ['10.0.0.1']\n",
            "9:14: endpoints[0]: '10.0.0.1' has no port: write host:port; did you mean"
            " '10.0.0.1:80'?",
        ),
        (
            GOOD + "[upstreams.b]\nendpoints = ['10.0.0.1:80 weight=3']\n",
            "9:14: endpoints[0]: '10.0.0.1:80 weight=3' is not an address: write"
            " host:port; did you mean '10.0.0.1:80;weight=3'?",
        ),
        (
            GOOD + "[gateway]\naccess_log = '-'\n",
            "9:1: access_log: '-' is no file: write 'off', 'stdout', 'stderr' or a",
        ),
        (
            GOOD + "[gateway]\naccess_log = 'on'\n",
            "9:1: access_log: 'on' is no file: write 'off', 'stdout', 'stderr' or a",
        ),
        (
            GOOD + "[gateway]\npid_file = 'off'\n",
            "9:1: pid_file: 'off' is no file: write a path",
        ),
        (
            GOOD + "[gateway]\nclient_max_body_size = '1m'\n",
            "9:1: unknown key 'client_max_body_size' in [gateway]; did you mean"
            " 'max_body'?",
        ),
        (
            GOOD + "match = { location = '/x' }\n",
            "8:11: unknown key 'location' in match of [[routes]]; did you mean"
            " 'path_prefix'?",
        ),
        ("worker_processes 2;\n", "1:18: expected '=' after a key"),
        (
            GOOD + "[gateway]\nretries = -1\n",
            "9:1: retries: -1 is outside 0..8",
        ),
        (
            GOOD + "[gateway]\nmax_conns = '-1'\n",
            "9:1: max_conns: '-1' is less than 1",
        ),
        (
            GOOD + "[gateway]\ndrain = '-5s'\n",
            "9:1: drain: '-5s' is outside 0s..24h",
        ),
        (
            GOOD + "[gateway]\nmax_body = '-1k'\n",
            "9:1: max_body: '-1k' is less than 0",
        ),
        (
            GOOD + "[upstreams.b]\nendpoints = [{ address = 'a:1', weight = -1 }]\n",
            "9:33: weight: -1 is outside 1..256",
        ),
        (
            GOOD + "[gateway]\nmax_header = '8k'\nmax_target = '9k'\n",
            "10:1: max_target: 9216 bytes are more than the whole head may have",
        ),
        (
            GOOD + "request_headers = { remove = ['host'] }\n",
            "8:31: remove[0]: 'host' frames the message: no rule may touch it: use the",
        ),
        (
            GOOD + "request_headers = { remove = ['a b'] }\n",
            "8:31: remove[0]: 'a b' is not a header name",
        ),
        (
            GOOD + "request_headers = { set = { X-A = '1', x-a = '2' } }\n",
            "8:40: set: 'x-a' and 'X-A' are the same header",
        ),
        (
            GOOD + "request_headers = { set = { X-A = '1' }, remove = ['x-a'] }\n",
            "8:29: set: 'X-A' is in remove as well",
        ),
        (
            GOOD + "request_headers = { set = { X-A = '1' }, add = { X-A = '1' } }\n",
            "8:29: set: 'X-A' is in add as well",
        ),
        (
            GOOD + "request_headers = { set = { X-A = 1 } }\n",
            "8:29: set: the value of 'X-A' is not a text",
        ),
        (
            GOOD + "match = { host = 'a:80' }\n",
            "8:11: host: 'a:80': a host to match has no",
        ),
        (
            GOOD + "match = { host = 'a.*' }\n",
            "8:11: host: 'a.*': a wildcard is the first",
        ),
        (
            GOOD + "match = { path = 'x' }\n",
            "8:11: path: 'x' does not start with '/'; did you mean '/x'?",
        ),
        (
            GOOD + "match = { path = '/x?y' }\n",
            "8:11: path: '/x?y': a path to match ends",
        ),
        (
            GOOD + "match = { path = '/a/../b' }\n",
            "8:11: path: '/a/../b' could never match",
        ),
        (GOOD + "match = { path = '/%zz' }\n", "8:11: path: '/%zz' is not a path"),
        (GOOD + "host = 'upstraem'\nhots = 1", "9:1: unknown key 'hots' in [[routes]]"),
        ("x = \n" + GOOD, "1:5: invalid value"),
    ],
)
def test_a_fault_is_told_with_its_place(write: Write, text: str, message: str) -> None:
    path = write(text)

    found = problems(path)

    assert len(found) == 1, [str(p) for p in found]
    assert str(found[0]).startswith(f"{path}:{message}")


def test_faults_of_syntax_and_of_meaning_are_told_together(write: Write) -> None:
    text = GOOD + "[gateway]\nworkers = \ndrain = 'x'\nvia = troo\n"

    found = problems(write(text))

    assert [p.line for p in found] == [9, 10, 11]


def test_a_lost_header_makes_no_fault_of_what_names_it(write: Write) -> None:
    found = problems(write(GOOD.replace("[upstreams.users]", "[upstreams.users")))

    assert [p.line for p in found] == [3]


def test_a_contradiction_is_told_beside_faults_elsewhere_in_its_table(
    write: Write,
) -> None:
    text = GOOD + "deadline = 'x'\n[[routes]]\nname = 'users'\nupstream = 'usres'\n"

    found = problems(write(text))

    assert [p.line for p in found] == [8, 9, 10, 11]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")

    assert str(problems(missing)[0]) == (
        f"{missing}: cannot be read: No such file or directory"
    )
    assert "Is a directory" in str(problems(str(tmp_path))[0])
    assert "is not a file name" in str(problems("a\0b")[0])


def test_bytes_that_are_no_utf_8_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"a = 1\nb = '\xc3\xa4\xff'\n")

    found = problems(str(path))

    assert (found[0].line, found[0].column) == (2, 7)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    assert load(str(path), {}, {}).config.routes


def test_without_anything_it_says_what_is_needed() -> None:
    assert [str(p) for p in problems(None)] == [
        "command line: no route: add [[routes]] or --upstream ADDRESS",
        "command line: nothing to listen on: add [listeners.NAME] or --listen ADDRESS",
    ]


def test_flags_alone_make_a_configuration() -> None:
    flags = {
        "listen": [":8080,[::1]:8080", "unix:/a"],
        "upstream": ["a:1;weight=3", "b:2,c:3"],
        "balance": ["hash"],
        "hash_key": ["header:X-User"],
    }

    config = load(None, flags, {}).config

    assert config.listeners["main"].addresses == (
        "0.0.0.0:8080",
        "[::1]:8080",
        "unix:/a",
    )
    upstream = config.upstreams["main"]
    assert [(e.address, e.weight) for e in upstream.endpoints] == [
        ("a:1", 3),
        ("b:2", 1),
        ("c:3", 1),
    ]
    assert (upstream.balance, upstream.hash_key) == ("hash", "header:x-user")
    assert [(r.name, r.upstream) for r in config.routes] == [("main", "main")]


def test_quick_flags_fault_by_their_own_names() -> None:
    found = problems(None, {"listen": ["x"], "upstream": ["y"], "balance": ["z"]})

    assert [p.file for p in found] == ["--balance", "--listen", "--upstream"]


def test_balance_without_the_upstream_it_is_of_is_refused(write: Write) -> None:
    found = problems(write(GOOD), {"balance": ["hash"]})

    assert str(found[0]) == (
        "--balance: there is no upstream 'main': add --upstream ADDRESS"
    )


def test_quick_flags_set_the_main_tables_of_a_file(write: Write) -> None:
    text = GOOD.replace("web", "main").replace("users", "main")

    config = load(write(text), {"listen": [":1"], "upstream": ["b:2"]}, {}).config

    assert config.listeners["main"].addresses == ("0.0.0.0:1",)
    assert config.upstreams["main"].endpoints[0].address == "b:2"
    assert len(config.routes) == 1


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(
    write: Write,
) -> None:
    text = GOOD + "[gateway]\ndrain = '1s'\nkeepalive = '1s'\nsend_timeout = '1s'\n"
    environ = {"FASTGATE_DRAIN": "2s", "FASTGATE_KEEPALIVE": "2s"}
    path = write(text)

    loaded = load(path, {"drain": "3s"}, environ)

    gateway = loaded.config.gateway
    assert (gateway.drain, gateway.keepalive, gateway.send_timeout) == (
        3000,
        2000,
        1000,
    )
    assert gateway.body_timeout == 30_000
    origins = [
        loaded.origin(("gateway", key))
        for key in ("drain", "keepalive", "send_timeout", "body_timeout")
    ]
    assert origins == ["--drain", "FASTGATE_KEEPALIVE", f"{path}:11", "default"]


def test_an_empty_variable_is_not_set() -> None:
    environ = {
        "FASTGATE_DRAIN": "",
        "FASTGATE_LISTEN": ":1",
        "FASTGATE_UPSTREAM": "a:1",
    }

    assert load(None, {}, environ).config.gateway.drain == 30_000


def test_faults_of_file_variable_and_flag_are_told_together(write: Write) -> None:
    text = GOOD + "[gateway]\nvia = 5\n"

    found = problems(write(text), {"drain": "x"}, {"FASTGATE_WORKERS": "none"})

    assert [p.line for p in found] == [9, 0, 0]
    assert [p.file for p in found[1:]] == ["--drain", "FASTGATE_WORKERS"]
    assert str(found[2]) == "FASTGATE_WORKERS: 'none' is not a whole number or 'auto'"


def test_a_mistyped_variable_gets_a_warning_and_a_foreign_one_does_not() -> None:
    environ = {
        "FASTGATE_WROKERS": "3",
        "FASTGATE_SERVICE_HOST": "10.0.0.1",
        "FASTGATE_TRACEBACK": "1",
        "FASTGATE_LISTEN": ":1",
        "FASTGATE_UPSTREAM": "a:1",
    }

    warnings = load(None, {}, environ).warnings

    assert warnings == (
        "FASTGATE_WROKERS: no such variable; did you mean 'FASTGATE_WORKERS'?",
    )


@pytest.mark.parametrize("given", ["unix, 10.0.0.0/8", ["UNIX", "10.0.0.0/8"]])
def test_peers_on_unix_sockets_are_trusted_beside_networks(
    write: Write, given: str | list[str]
) -> None:
    text = GOOD.replace('"127.0.0.1:8080"', '"unix:/run/front.sock"')
    path = write(f"{text}[gateway]\ntrusted_proxies = {given!r}\n")

    trusted = load(path, {}, {}).config.gateway.trusted_proxies
    assert trusted == ("unix", "10.0.0.0/8")


@pytest.mark.parametrize("given", ["unix:", "unix:/run/front.sock", "unixs"])
def test_a_peer_on_a_unix_socket_has_one_name(write: Write, given: str) -> None:
    text = GOOD + f'[gateway]\ntrusted_proxies = "{given}"\n'

    (problem,) = problems(write(text))
    assert problem.message == (
        f"trusted_proxies: '{given}' is not a network: write 10.0.0.0/8, fd00::/8"
        " or unix"
    )
    assert problem.suggestion == "unix"


def test_trusting_unix_peers_without_a_unix_listener_gets_a_warning(
    write: Write,
) -> None:
    trusting = GOOD + '[gateway]\ntrusted_proxies = ["unix"]\n'
    listening = trusting.replace('"127.0.0.1:8080"', '"unix:/run/front.sock"')

    path = write(trusting)
    assert load(path, {}, {}).warnings == (
        f"{path}:9:1: trusted_proxies: 'unix' trusts nobody: no listener's address is"
        " a Unix socket",
    )
    assert load(write(listening), {}, {}).warnings == ()
    flags = {"trusted_proxies": "unix", "listen": ":1", "upstream": "a:1"}
    (warning,) = load(None, flags, {}).warnings
    assert warning.startswith("--trusted-proxies: 'unix' trusts nobody")


def samples(knob: Knob) -> list[str]:
    """Texts, other than the default, that a knob takes from any source."""
    if knob.key == "max_target":
        return ["1k"]
    by_kind = {
        Kind.COUNT: ["7"] if knob.high < 1000 else ["1234"],
        Kind.DURATION: ["1500ms", "2s", "3"],
        Kind.SIZE: ["20k", "20480"],
        Kind.RATE: ["1k/s", "7"],
        Kind.PERCENT: ["7%", "8"],
        Kind.SWITCH: ["on", "off"],
        Kind.CHOICE: [choice for choice in knob.choices if choice != knob.default],
        Kind.TEXT: ["x"],
        Kind.NETWORKS: ["10.0.0.0/8,::1/128"],
        Kind.METHODS: ["DELETE,M-SEARCH,FOO"],
        Kind.EJECT: ["3/2s", "off"],
    }
    return [*by_kind[knob.kind], *knob.words]


EVERY_SAMPLE = [(knob, text) for knob in KNOBS.values() for text in samples(knob)]


@pytest.mark.parametrize(
    ("knob", "text"), EVERY_SAMPLE, ids=[f"{k.key}-{t}" for k, t in EVERY_SAMPLE]
)
def test_every_knob_means_the_same_in_file_flag_and_variable(
    write: Write, knob: Knob, text: str
) -> None:
    path = write(GOOD + f"[gateway]\n{knob.key} = {quote(text)}\n")

    by_file = load(path, {}, {})
    by_flag = load(write(GOOD), {knob.key: text}, {})
    by_variable = load(write(GOOD), {}, {knob.variable: text})

    assert by_file.config == by_flag.config == by_variable.config
    places = [
        loaded.origin(("gateway", knob.key))
        for loaded in (by_file, by_flag, by_variable)
    ]
    assert places == [f"{path}:9", knob.flag, knob.variable]


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.key)
def test_every_knob_can_be_changed_from_its_default(knob: Knob) -> None:
    default = getattr(from_flags({}).config.gateway, knob.key)

    values = {
        getattr(from_flags({knob.key: text}).config.gateway, knob.key)
        for text in samples(knob)
    }

    assert values - {default}


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.key)
def test_every_knob_refuses_what_it_cannot_mean(knob: Knob) -> None:
    found = problems(None, {"listen": [":1"], "upstream": ["a:1"], knob.key: "\x00"})

    assert [p.file for p in found] == [knob.flag]


@pytest.mark.parametrize(
    "knob", [k for k in KNOBS.values() if k.scopes], ids=lambda knob: knob.key
)
def test_a_knob_with_scopes_is_overridden_by_the_same_key(
    write: Write, knob: Knob
) -> None:
    text = samples(knob)[0]
    line = f"{knob.key} = {quote(text)}\n"
    route_line = line if "route" in knob.scopes else ""
    upstream_line = line if "upstream" in knob.scopes else ""
    listener_line = line if "listener" in knob.scopes else ""
    document = GOOD.replace("[[routes]]\n", upstream_line + "[[routes]]\n") + route_line
    document = document.replace("[upstreams.", listener_line + "[upstreams.", 1)

    config = load(write(document), {}, {}).config

    value = knob.read(text)
    assert getattr(config.listeners["web"], knob.key, value) == value
    assert getattr(config.upstreams["users"], knob.key, value) == value
    assert getattr(config.routes[0], knob.key, value) == value
    assert getattr(config.gateway, knob.key) != value


RICH = (
    GOOD
    + """\
deadline = "5s"
match = { host = "*.Example.com", path_prefix = "/a" }
host = "upstream"
request_headers = { set = { "X-A" = "quote \\" tab \\t ä" }, remove = ["X-B"] }
[upstreams."b.c"]
balance = "hash"
hash_key = "cookie:Session"
hash_bound = 150
slow_start = "1m30s"
eject = "off"
endpoints = ["[::1]:80", { address = "unix:/x", weight = 3 }]
[[routes]]
name = "rest"
upstream = "b.c"
max_body = "0"
"""
)


def test_a_printed_configuration_loads_to_the_same(write: Write) -> None:
    flags = {"drain": "5s", "trusted_proxies": "10.0.0.0/8", "max_header": "8k"}
    loaded = load(
        write(RICH), flags, {"FASTGATE_VIA": "on", "FASTGATE_ACCESS_LOG": "x"}
    )

    printed = render(loaded)

    assert load(write(printed), {}, {}).config == loaded.config


@pytest.mark.parametrize(
    ("knob", "text"), EVERY_SAMPLE, ids=[f"{k.key}-{t}" for k, t in EVERY_SAMPLE]
)
def test_every_printed_knob_loads_to_the_same(
    write: Write, knob: Knob, text: str
) -> None:
    loaded = from_flags({knob.key: text})

    printed = render(loaded)

    assert load(write(printed), {}, {}).config == loaded.config


def test_a_printed_configuration_says_where_each_value_came_from(write: Write) -> None:
    path = write(RICH)

    printed = render(load(path, {"drain": "5s"}, {"FASTGATE_WORKERS": "auto"}))

    assert 'drain = "5s"  # --drain\n' in printed
    assert 'workers = "auto"  # FASTGATE_WORKERS\n' in printed
    assert 'keepalive = "75s"  # default\n' in printed
    assert f'deadline = "5s"  # {path}:8\n' in printed
    assert set(tomllib.loads(printed)["gateway"]) == set(KNOBS)


@given(st.text(max_size=20))
def test_any_text_survives_being_quoted(text: str) -> None:
    assert tomllib.loads(f"a = {quote(text)}")["a"] == text


@given(st.data())
def test_a_file_with_any_bytes_changed_is_loaded_or_refused_with_places(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = bytearray(RICH.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=2))
    path = tmp_path_factory.getbasetemp() / "mutant.toml"
    path.write_bytes(bytes(text))

    try:
        load(str(path), {}, {})
        found: tuple[Problem, ...] = ()
    except ConfigError as error:
        found = error.problems

    lines = bytes(text).count(b"\n") + 1
    assert all(1 <= problem.line <= lines for problem in found)


LIKELY_KEYS = (
    *("gateway", "listeners", "upstreams", "routes", "main", "address", "addresses"),
    *("name", "upstream", "match", "host", "path", "endpoints", "weight", "workers"),
    *("eject", "request_headers", "set", "remove"),
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(LIKELY_KEYS),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_data_is_loaded_or_refused_with_problems(data: object) -> None:
    loader = _Loader(None)
    loader.data = data if isinstance(data, dict) else {"gateway": data}
    loader.overlay({}, {"listen": [":1"], "upstream": ["a:1"], "drain": "1s"})

    # ConfigError is the only exception that may come out.
    with suppress(ConfigError):
        loader.finish()


def test_a_path_that_can_never_match_is_told_with_its_place(write: Write) -> None:
    document = GOOD.replace(
        "[[routes]]\n",
        '[[routes]]\nname = "odd"\nupstream = "users"\n'
        'match = { path_prefix = "/a;b" }\n\n[[routes]]\n',
    )
    (problem,) = problems(write(document))
    line = document[: document.index('"/a;b"')].count("\n") + 1

    assert problem.line == line
    assert problem.column > 1
    assert "'/a;b' could never match" in problem.message
    kept = document.replace(
        'name = "odd"\n', 'name = "odd"\nambiguous_paths = "keep"\n'
    )
    assert load(write(kept), {}, {}).config.routes[0].match.path_prefix == "/a;b"
