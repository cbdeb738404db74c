r"""Golden wire files: bytes a person can read. The format is in wire/README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

WIRE = Path(__file__).resolve().parents[1] / "wire"

SECTIONS = {"request", "origin", "upstream", "truncated", "client", "status", "then"}
ESCAPES = {
    "r": b"\r",
    "n": b"\n",
    "t": b"\t",
    "0": b"\0",
    "s": b" ",
    "\\": b"\\",
}
TOKEN = re.compile(r"\\(x[0-9a-fA-F]{2}|\{(\d+)\*([^}]*)\}|[rnt0s\\])|\\(.?)")


def unescape(text: str) -> bytes:
    """The bytes that `text` stands for; ValueError for an unknown escape."""
    out = bytearray()
    at = 0
    for found in TOKEN.finditer(text):
        out += text[at : found.start()].encode("latin-1")
        at = found.end()
        if found[1] is None:
            raise ValueError(f"unknown escape \\{found[4]} in {text!r}")
        if found[2]:
            out += unescape(found[3]) * int(found[2])
        elif found[1][0] == "x":
            out.append(int(found[1][1:], 16))
        else:
            out += ESCAPES[found[1]]
    return bytes(out + text[at:].encode("latin-1"))


@dataclass(frozen=True)
class WireCase:
    """One file. Sections that do not occur are empty."""

    name: str
    title: str
    request: bytes
    origin: tuple[bytes, ...]
    upstream: bytes
    may_truncate: bool
    client: bytes
    statuses: tuple[int, ...]
    then: str


def load(path: Path) -> WireCase:
    """Read one file; ValueError says what is wrong with it."""
    title: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for line in path.read_text("latin-1").split("\n"):
        if found := re.fullmatch(r"\[(\w+)\]", line):
            if found[1] not in SECTIONS:
                raise ValueError(f"{path.name}: unknown section {found[1]}")
            sections.append((found[1], []))
        elif sections:
            sections[-1][1].append(line)
        elif line.startswith("#"):
            title.append(line.lstrip("# "))
        elif line:
            raise ValueError(f"{path.name}: {line!r} before the first section")

    def one(name: str) -> str:
        found = [lines for key, lines in sections if key == name]
        if len(found) > 1:
            raise ValueError(f"{path.name}: section {name} occurs twice")
        return "".join(found[0]) if found else ""

    statuses = tuple(int(word) for word in one("status").split())
    return WireCase(
        name=f"{path.parent.name}/{path.stem}",
        title=" ".join(title),
        request=unescape(one("request")),
        origin=tuple(
            unescape("".join(lines)) for key, lines in sections if key == "origin"
        ),
        upstream=unescape(one("upstream")),
        may_truncate=any(key == "truncated" for key, _ in sections),
        client=unescape(one("client")),
        statuses=statuses,
        then=one("then").strip() or "open",
    )


def cases(folder: str) -> list[WireCase]:
    return [load(path) for path in sorted((WIRE / folder).glob("*.http"))]


def join_chunks(stream: bytes) -> bytes:
    """`stream` with each chunked body written as one chunk.

    How a stream is cut into chunks depends on how it arrived; what it says does not.
    """
    out = bytearray()
    while stream:
        head, mark, rest = stream.partition(b"\r\n\r\n")
        out += head + mark
        if re.search(rb"(?im)^transfer-encoding: *chunked\r?$", head):
            body, stream = _dechunk(rest)
            out += b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            out += b"0\r\n\r\n"
            continue
        length = re.search(rb"(?im)^content-length: *(\d+)\r?$", head)
        size = int(length[1]) if length else 0
        out += rest[:size]
        stream = rest[size:]
    return bytes(out)


def _dechunk(stream: bytes) -> tuple[bytes, bytes]:
    body = bytearray()
    while True:
        line, _, stream = stream.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return bytes(body), stream.removeprefix(b"\r\n")
        body += stream[:size]
        stream = stream[size + 2 :]
