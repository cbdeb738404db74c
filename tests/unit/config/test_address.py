import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgate.config.address import Address, parse_address
from fastgate.config.units import BadValueError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:80", Address("::1", 80)),
        ("[::]:443", Address("::", 443)),
        ("[0:0:0:0:0:0:0:1]:80", Address("::1", 80)),
        ("Example.com:80", Address("example.com", 80)),
        ("my_service:80", Address("my_service", 80)),
        ("unix:/run/a.sock", Address("", 0, "/run/a.sock")),
    ],
)
def test_an_address_is_read_into_its_parts(text: str, address: Address) -> None:
    assert parse_address(text, listening=False) == address


def test_a_listener_may_leave_the_host_out_and_the_port_to_the_kernel() -> None:
    assert parse_address(":0", listening=True) == Address("0.0.0.0", 0)


@pytest.mark.parametrize("text", [":80", "a:0"])
def test_an_endpoint_needs_host_and_port(text: str) -> None:
    with pytest.raises(BadValueError):
        parse_address(text, listening=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        "host:http",
        "host:65536",
        "host:-1",
        "host:٨٠",
        "::1:80",
        "[::1]",
        "[::1",
        "[zz]:80",
        "300.0.0.1:80",
        "1.2.3:80",
        "-a:80",
        "a..b:80",
        "a b:80",
        "unix:relative",
        "unix:/",
        "unix:/" + "x" * 120,
        "http://a:80/",
        "/run/a.sock",
        8080,
        None,
    ],
)
@pytest.mark.parametrize("listening", [True, False])
def test_what_is_no_address_is_refused(text: object, listening: bool) -> None:
    with pytest.raises(BadValueError):
        parse_address(text, listening=listening)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("http://a:80/x", "a:80"), ("/run/a.sock", "unix:/run/a.sock")],
)
def test_a_url_or_a_path_gets_a_suggestion(text: str, meant: str) -> None:
    with pytest.raises(BadValueError) as raised:
        parse_address(text, listening=False)

    assert raised.value.suggestion == meant


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.integers(min_value=1, max_value=65535),
)
def test_a_written_address_reads_back_the_same(host: object, port: int) -> None:
    address = Address(str(host), port)

    assert parse_address(str(address), listening=False) == address
    assert address.is_literal


def test_a_name_is_no_literal() -> None:
    assert not parse_address("localhost:1", listening=False).is_literal
