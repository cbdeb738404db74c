"""Clients that people use."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from support.gateway import Gateway
from support.origin import digest, pattern, serve
from support.rig import Rig

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="no curl")

MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway(module_rig: Rig) -> Gateway:
    return module_rig.gateway(
        module_rig.origin(), module_rig.origin(), workers=2, max_body="64m"
    )


def curl(*arguments: str, stdin: bytes = b"") -> bytes:
    # A sanitizer that ci/test preloads is for the gateway, not for curl.
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "20", *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_curl
def test_curl_gets_a_page_and_its_headers(gateway: Gateway, quiet: Rig) -> None:
    out = curl("-i", f"http://{gateway.address}/size/5?header=X-A:b")
    head, _, body = out.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"X-A: b" in head
    assert body == pattern(5)


@needs_curl
@pytest.mark.parametrize("kind", ["size", "chunked", "eof"])
@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
def test_curl_reads_large_answers(
    gateway: Gateway, quiet: Rig, kind: str, version: str
) -> None:
    out = curl(version, f"http://{gateway.address}/{kind}/{5 * MIB}")

    assert digest(out) == digest(pattern(5 * MIB))


@needs_curl
def test_curl_asks_for_a_head(gateway: Gateway, quiet: Rig) -> None:
    out = curl("--head", f"http://{gateway.address}/size/70000")

    assert b"content-length: 70000" in out.lower()


@needs_curl
@pytest.mark.parametrize(
    "how",
    [
        ["--data-binary", "@FILE"],
        ["--data-binary", "@FILE", "-H", "Transfer-Encoding: chunked"],
        ["--data-binary", "@FILE", "-H", "Expect: 100-continue"],
        ["--data-binary", "@FILE", "-H", "Expect:"],
        ["--upload-file", "FILE"],
    ],
    ids=["counted", "chunked", "expect", "no-expect", "put"],
)
def test_curl_uploads_a_file(
    gateway: Gateway, quiet: Rig, tmp_path: Path, how: list[str]
) -> None:
    body = pattern(3 * MIB)
    path = tmp_path / "body"
    path.write_bytes(body)
    how = [word.replace("FILE", str(path)) for word in how]
    account = json.loads(curl(*how, f"http://{gateway.address}/any/"))

    assert account["body_sha256"] == digest(body)


@needs_curl
def test_curl_uploads_from_a_pipe(gateway: Gateway, quiet: Rig) -> None:
    account = json.loads(
        curl("-T", "-", f"http://{gateway.address}/any", stdin=pattern(MIB))
    )

    assert account["is_chunked"]
    assert account["body_sha256"] == digest(pattern(MIB))


@needs_curl
def test_curl_sends_a_form(gateway: Gateway, quiet: Rig, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(pattern(MIB))
    account = json.loads(
        curl("-F", "a=b", "-F", f"c=@{path}", f"http://{gateway.address}/any")
    )

    assert account["body_bytes"] > MIB


@needs_curl
def test_curl_reuses_its_connection(gateway: Gateway, quiet: Rig) -> None:
    urls = [f"http://{gateway.address}/size/{n}" for n in range(10)]
    out = curl(
        "-w", "%{num_connects}\n", *[w for u in urls for w in ("-o", "/dev/null", u)]
    )

    assert out.split() == [b"1"] + [b"0"] * 9


@needs_curl
def test_curl_takes_the_gateway_for_a_forward_proxy(
    gateway: Gateway, quiet: Rig
) -> None:
    """With -x curl sends absolute-form and Proxy-Connection."""
    for origin in quiet.origins:
        origin.forget(serve)
    account = json.loads(
        curl("-x", f"http://{gateway.address}", "http://example.com/any?x=1")
    )

    assert account["target"] == "/any?x=1"
    names = [name.lower() for name, _ in account["headers"]]
    assert "proxy-connection" not in names


@needs_curl
def test_curl_over_a_unix_socket(rig: Rig) -> None:
    path = f"{rig.directory}/gateway.sock"
    rig.gateway(rig.origin(family="unix"), listen=f"unix:{path}")

    assert curl("--unix-socket", path, "http://localhost/size/9") == pattern(9)


@needs_curl
def test_curl_over_ipv6(rig: Rig) -> None:
    gateway = rig.gateway(rig.origin(family="ipv6"), listen="[::1]:0")

    assert curl("-g", f"http://{gateway.address}/size/9") == pattern(9)


def in_session(work: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    async def main() -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await work(session)

    asyncio.run(main())


def test_aiohttp_asks_many_things_at_once(gateway: Gateway, quiet: Rig) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async def one(n: int) -> None:
            kind = ("size", "chunked", "eof")[n % 3]
            url = f"http://{gateway.address}/{kind}/{n * 37}"
            async with session.get(url, headers={"X-Nonce": str(n)}) as answer:
                assert answer.status == 200
                assert answer.headers["X-Nonce"] == str(n)
                assert await answer.read() == pattern(n * 37)

        await asyncio.gather(*(one(n) for n in range(300)))

    in_session(work)


def test_aiohttp_streams_a_body_of_unknown_length(gateway: Gateway, quiet: Rig) -> None:
    body = pattern(2 * MIB)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async def work(session: aiohttp.ClientSession) -> None:
        url = f"http://{gateway.address}/any"
        async with session.post(url, data=pieces()) as answer:
            account = json.loads(await answer.read())
            assert account["is_chunked"]
            assert account["body_sha256"] == digest(body)

    in_session(work)


def test_aiohttp_talks_over_a_websocket(gateway: Gateway, quiet: Rig) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        url = f"http://{gateway.address}/upgrade"
        async with session.ws_connect(url, max_msg_size=0) as socket:
            for size in (0, 1, 125, 126, 65535, 65536, MIB):
                await socket.send_bytes(pattern(size))
                assert await socket.receive_bytes() == pattern(size)
            await socket.send_str("h\u00e9llo")
            assert await socket.receive_str() == "h\u00e9llo"
            await socket.ping()

    in_session(work)


def test_aiohttp_reuses_connections_for_thousands_of_requests(
    gateway: Gateway, quiet: Rig
) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async def run() -> None:
            for _ in range(100):
                async with session.get(f"http://{gateway.address}/size/10") as answer:
                    assert await answer.read() == pattern(10)

        await asyncio.gather(*(run() for _ in range(10)))

    in_session(work)
