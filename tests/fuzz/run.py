"""Fuzz the room parser for some seconds and keep what breaks it.

    python tests/fuzz/run.py --seconds 30 [--seed 1] [--target request]

Each target runs in a child process that writes every input to shared memory before
it feeds it, so an input that kills the child is still there. Such inputs are written
to build/fuzz/; one that was understood goes into tests/fuzz/corpus/ under
a name that says what it was, and is replayed by pytest for ever. Build first:
python tests/native/setup.py -q build_ext.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "native"), str(HERE.parents[1])]

import parser_fuzz  # noqa: E402

SHARED_BYTES = 8 + 65536
WORDS = [
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"\x00", b"\x7f",
    b"\x80", b"GET ", b"POST ", b"OPTIONS * ", b"CONNECT ", b"PRI ", b"SOURCE ",
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 x\r\n", b"Host: a\r\n", b"Host: ", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: ", b"close", b"keep-alive", b"upgrade", b"Upgrade: websocket\r\n",
    b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"X-Forwarded-For: b\r\n",
    b"A_B: c\r\n", b"http://a", b"https://[::1]:443", b"/../", b"/./", b"//", b"%2e",
    b"%2F", b"%5c", b"%00", b"%41", b"%c0%ae", b";", b"?", b"#", b"|", b"[", b"]",
    b"0\r\n\r\n", b"3\r\nabc\r\n", b"fffffffffffffff\r\n", b"5;a=b\r\nhello\r\n",
    b"0\r\nTrailer: x\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"\r\n ",
]  # fmt: skip


def corpus() -> list[bytes]:
    """Every input that is kept."""
    return [path.read_bytes() for path in sorted((HERE / "corpus").iterdir())]


def child(shared: mmap.mmap, target: str, seconds: float, seed: int) -> int:
    fed, broken = parser_fuzz.fuzz(
        corpus(), WORDS, memoryview(shared), target == "response", seconds, seed
    )
    print(f"{target}: {fed} inputs, {fed / seconds:.0f} a second", flush=True)
    if broken:
        print(f"{target}: broken: {parser_fuzz.PROPERTIES[broken]}", flush=True)
    return broken


def fuzz(target: str, seconds: float, seed: int) -> bool:
    """Whether `seconds` of fuzzing found nothing; a find is kept."""
    shared = mmap.mmap(-1, SHARED_BYTES)
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(child(shared, target, seconds, seed))
        except BaseException as error:
            print(f"{target}: {error!r}", file=sys.stderr, flush=True)
            os._exit(99)
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return True
    size = int.from_bytes(shared[:8], sys.byteorder)
    data = shared[8 : 8 + size]
    found = (
        HERE.parents[1]
        / "build"
        / "fuzz"
        / f"{target}-{hashlib.sha256(data).hexdigest()[:16]}"
    )
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_bytes(data)
    print(f"{target}: status {status} (seed {seed}), input kept as {found}")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFFFFFF)
    parser.add_argument("--target", choices=["request", "response"], action="append")
    options = parser.parse_args()
    targets = options.target or ["request", "response"]
    print(f"seed {options.seed}")
    good = [fuzz(target, options.seconds, options.seed) for target in targets]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
