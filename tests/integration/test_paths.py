"""Targets through a real gateway: they arrive as they came, where they belong."""

from __future__ import annotations

import hashlib
import hmac
import random
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from support.real_paths import APPS
from support.rig import Rig

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "dataplane" / "route"))

from test_readings import READERS, literal, random_path, random_table, route_of

KEY = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def test_what_programs_in_use_send_arrives_byte_for_byte(rig: Rig) -> None:
    origin = rig.origin()
    hosts = {app.name: app.name.replace(" ", "-") + ".test" for app in APPS}
    routes = [
        {
            "name": f"{number}-{index}",
            "match": {"host": hosts[app.name], "path_prefix": prefix},
            "upstream": "main",
        }
        for number, app in enumerate(APPS)
        for index, prefix in enumerate(("/", *app.prefixes))
    ]
    client = rig.client(rig.gateway(origin, routes=routes))
    for app in APPS:
        for target in app.targets:
            answer = client.ask("GET", target, host=hosts[app.name])
            assert answer.status == 200, (app.name, target, answer.body)

    sent = [target.encode() for app in APPS for target in app.targets]
    assert len(sent) == 200
    assert [one.target for one in origin.requests] == sent


def test_generated_paths_reach_only_services_that_read_them_as_their_own(
    rig: Rig,
) -> None:
    draw = random.Random("through a gateway")
    rows = random_table(draw)
    while len(rows) < 5:
        rows = random_table(draw)
    origins = [rig.origin(name=str(index)) for index in range(len(rows))]
    gateway = rig.gateway(
        upstreams={o.name: {"endpoints": [o.address]} for o in origins},
        routes=[
            {
                "name": str(index),
                "match": {"path" if kind == "exact" else "path_prefix": path},
                "upstream": str(index),
            }
            for index, (kind, path) in enumerate(rows)
        ],
    )
    raw = [(kind == "exact", path.encode()) for kind, path in rows]
    decoded = [(is_exact, unquote_to_bytes(path)) for is_exact, path in raw]
    seen = set()
    for _ in range(600):
        target = random_path(draw, rows)
        answer = gateway.fetch("GET", target.decode())
        seen.add(answer.status)
        if answer.status != 200:
            assert answer.status in (400, 404)
            continue
        origin = int(answer.value("x-origin"))
        assert origins[origin].requests[-1].target == target
        for reader in READERS:
            read = reader(target)
            table = raw if reader is literal else decoded
            assert read is None or route_of(table, read) == origin, (reader, target)
    assert seen == {200, 400, 404}


def signature(method: bytes, target: bytes, host: bytes, date: bytes) -> str:
    """AWS Signature Version 4 for S3, over the path and query as they are sent."""
    path, _, query = target.partition(b"?")
    payload = hashlib.sha256(b"").hexdigest().encode()
    canonical = b"\n".join(
        [
            *(method, path, b"&".join(sorted(query.split(b"&")))),
            *(b"host:" + host, b"x-amz-date:" + date, b"", b"host;x-amz-date", payload),
        ]
    )
    scope = date[:8] + b"/us-east-1/s3/aws4_request"
    digest = hashlib.sha256(canonical).hexdigest().encode()
    text = b"\n".join([b"AWS4-HMAC-SHA256", date, scope, digest])
    key = b"AWS4" + KEY
    for part in scope.split(b"/"):
        key = hmac.digest(key, part, "sha256")
    return hmac.new(key, text, "sha256").hexdigest()


@pytest.mark.parametrize(
    "target",
    [
        "/bucket/a//b",
        "/bucket//",
        "/bucket/%7Eann/~ann",
        "/bucket/r%c3%a9sum%C3%A9.pdf",
        "/bucket/[draft]|{1}.txt",
        "/bucket/a%2Fb%2fc",
        "/bucket/./a/../b",
        "/bucket/a+b%2Bc%20d;e",
        "/bucket/100%25?x-id=GetObject&marker=a%2Fb",
        "/bucket/%E6%97%A5?partNumber=1&uploadId=a%3D~",
    ],
)
def test_a_signature_over_the_target_holds_behind_the_gateway(
    rig: Rig, target: str
) -> None:
    origin = rig.origin()
    client = rig.client(rig.gateway(origin))
    date = "20260101T000000Z"
    signed = signature(b"GET", target.encode(), b"s3.test", date.encode())
    answer = client.ask(
        "GET",
        target,
        {"X-Amz-Date": date, "Authorization": f"AWS4-HMAC-SHA256 {signed}"},
        host="s3.test",
    )
    (got,) = origin.requests

    assert answer.status == 200
    assert got.value("authorization") == b"AWS4-HMAC-SHA256 " + signed.encode()
    assert (
        signature(got.method, got.target, got.value("host"), got.value("x-amz-date"))
        == signed
    )
