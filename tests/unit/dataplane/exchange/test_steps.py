"""The table of steps holds what the code does: each row is walked."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import steps_probe as probe
from support.addresses import reset
from support.lab import OK, Lab, request

from fastgate.config.knobs import KNOBS

MakeLab = Callable[..., Lab]
Act = Callable[[], object]

TABLE: dict[str, dict[str, Any]] = probe.table()
BODY = b"x" * 200_000


@dataclass
class Scene:
    """How an exchange comes into a step; `bring` gives its client and the way on.

    The way on is the act of whom the step awaits.
    """

    bring: Callable[[Lab], tuple[socket.socket, Act]]
    settings: dict[str, Any] = field(default_factory=dict)
    send_bytes: int = 0

    def lab(self, make_lab: MakeLab, **more: Any) -> Lab:
        settings = {"retries": 0} | self.settings | more
        return make_lab(send_bytes=self.send_bytes, **settings)


def gather(lab: Lab) -> tuple[socket.socket, Act]:
    client = lab.client()
    client.sendall(request("/", "POST", b"half")[:-2])
    return client, lambda: client.sendall(b"lf")


def queued(lab: Lab) -> tuple[socket.socket, Act]:
    first, service = lab.ask()
    client = lab.client()
    client.sendall(request())

    def come_free() -> None:
        service.sendall(OK)
        lab.read(first, b"ok")

    return client, come_free


def backoff(lab: Lab) -> tuple[socket.socket, Act]:
    for service in lab.services:
        service.close()
    while True:
        client = lab.client()
        client.sendall(request())
        if "backoff" in steps(lab):
            # Of the time that it waits none is left in a worker that drains.
            return client, lab.engine.drain
        lab.read(client, b"\n")  # it happened to wait for next to nothing


def connect(lab: Lab) -> tuple[socket.socket, Act]:
    lab.services[0].listen(0)
    # As many as the backlog takes: the next one hears nothing, until it has room.
    fillers = [socket.socket() for _ in range(2)]
    lab.open += fillers
    for one in fillers:
        one.setblocking(False)
        one.connect_ex(lab.services[0].getsockname())
    client = lab.client()
    client.sendall(request())

    def accept_all() -> None:
        lab.services[0].listen(16)
        for _ in range(2):
            lab.accept()

    return client, accept_all


def forward(lab: Lab) -> tuple[socket.socket, Act]:
    client, service = lab.ask()
    return client, lambda: service.sendall(OK[:-1])


def relay(lab: Lab) -> tuple[socket.socket, Act]:
    client, service = lab.ask()
    service.sendall(OK[:-1])
    lab.read(client, b"o")
    return client, lambda: service.sendall(OK[-1:])


def tunnel(lab: Lab) -> tuple[socket.socket, Act]:
    client, service = lab.tunnel()

    def both_end() -> None:
        client.shutdown(socket.SHUT_WR)
        service.shutdown(socket.SHUT_WR)

    return client, both_end


def deliver(lab: Lab) -> tuple[socket.socket, Act]:
    client, service = lab.ask(receive_bytes=4096)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    rest = memoryview(head + BODY)
    service.setblocking(False)
    while rest:
        try:
            rest = rest[service.send(rest) :]
        except BlockingIOError:
            lab.settle(0.001)
    return client, lambda: lab.read(client, BODY)


SCENES = {
    "gather": Scene(gather, {"buffer_request": "64k"}),
    "queued": Scene(queued, {"upstream_max": 1, "queue": 4, "queue_timeout": "60s"}),
    "backoff": Scene(
        backoff,
        {"endpoints": 2, "upstream": {"retry": {"tries": 1, "backoff": "10s"}}},
    ),
    "connect": Scene(connect, {"connect_timeout": "60s"}),
    "forward": Scene(forward),
    "relay": Scene(relay),
    "tunnel": Scene(tunnel),
    "deliver": Scene(deliver, {"buffer_response": "256k"}, send_bytes=4096),
}


def steps(lab: Lab) -> list[str]:
    lab.settle()
    return list(probe.steps_of(lab.engine))


def reasons(lab: Lab, log: Path) -> list[str]:
    lab.engine.flush_log()
    lab.until(lambda: lab.engine.log_state()[2], "the log to be written")
    return [json.loads(line)["reason"] for line in log.read_text().splitlines()]


def logged(make_lab: MakeLab, scene: Scene, log: Path, **more: Any) -> Lab:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT)
    return scene.lab(make_lab, log_fd=fd, access_log_format="json", **more)


def test_each_step_in_which_somebody_is_awaited_is_walked_here() -> None:
    assert [n for n, row in TABLE.items() if row["awaited"]] == sorted(
        SCENES, key=list(TABLE).index
    )
    for name in TABLE.keys() - SCENES:
        assert TABLE[name]["setting"] is TABLE[name]["late"] is None


def test_each_time_is_a_setting() -> None:
    settings = {row["setting"] for row in TABLE.values()} - {None}

    assert settings - {"retry.backoff"} <= KNOBS.keys()


@pytest.mark.parametrize("name", SCENES)
def test_the_act_of_whom_a_step_awaits_leads_out_of_it(
    make_lab: MakeLab, name: str
) -> None:
    lab = SCENES[name].lab(make_lab)
    _, act = SCENES[name].bring(lab)

    assert name in steps(lab)
    act()
    if name == "connect":
        # The kernel asks again after a second.
        lab.until(lambda: "connect" not in steps(lab), "a connection")
    assert name not in steps(lab)


@pytest.mark.parametrize("name", [n for n in SCENES if TABLE[n]["late"]])
def test_a_step_that_lasts_too_long_ends_as_its_row_says(
    make_lab: MakeLab, tmp_path: Path, name: str
) -> None:
    row, scene, log = TABLE[name], SCENES[name], tmp_path / "log"
    lab = logged(make_lab, scene, log, **{row["setting"]: "40ms"})
    client, _ = scene.bring(lab)
    lab.until(lambda: name in probe.steps_of(lab.engine), name)
    lab.until(lambda: name not in probe.steps_of(lab.engine), f"{row['late']}")

    assert reasons(lab, log) == [row["late"]]
    if row["ending"] in ("reply", "again"):
        answer = lab.read(client, b"\n")
        assert answer.startswith(b"HTTP/1.1 %d " % row["status"])
    elif row["ending"] == "reset":
        assert lab.read_any_end(client)[1] == "reset"
    else:
        left, end = lab.read_any_end(client)
        assert (left, end) == (b"", "reset" if row["ending"] == "cut both" else "fin")


@pytest.mark.parametrize("name", SCENES)
def test_a_client_that_resets_its_connection_ends_every_step(
    make_lab: MakeLab, tmp_path: Path, name: str
) -> None:
    scene, log = SCENES[name], tmp_path / "log"
    lab = logged(make_lab, scene, log)
    client, _ = scene.bring(lab)
    assert name in steps(lab)
    reset(client)

    assert name not in steps(lab)
    assert reasons(lab, log) == ["client-abort"]


@pytest.mark.parametrize("name", SCENES)
def test_a_clients_fin_is_its_leaving_unless_it_is_passed_on(
    make_lab: MakeLab, name: str
) -> None:
    scene = SCENES[name]
    lab = scene.lab(make_lab, half_close=False)
    client, _ = scene.bring(lab)
    assert name in steps(lab)
    client.shutdown(socket.SHUT_WR)

    assert (name in steps(lab)) == TABLE[name]["passes_fin"]
