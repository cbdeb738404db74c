import memory
import pytest


@pytest.mark.parametrize("size", [1, 16, 31, 100, 2048, 4096])
def test_half_a_head_has_about_its_size_and_never_ends(size: int) -> None:
    half = memory.half_a_head(size)

    assert size - 2 <= len(half) <= size
    assert b"\r\n\r\n" not in half
    assert not half.endswith((b"\r", b"\n"))
    assert b"GET / HTTP/1.1\r\nHost: bench\r\n".startswith(half[:29])


def test_a_half_head_is_measured_with_3000_connections_unless_told() -> None:
    assert memory.arguments([]).count == 10000
    assert memory.arguments(["--half-head"]).count == 3000
    assert memory.arguments(["--half-head", "--count", "7"]).count == 7
    assert memory.arguments(["--slow-reader"]).count == 1
