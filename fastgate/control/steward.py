"""The steward: checks endpoints, and answers questions on the admin socket.

Runs in: steward.

Of shared memory it writes the states of endpoints and nothing else: it may crash, or be
slow, and no request is lost. A reload is the master's: the steward passes on that
somebody asked, and the answer.
This module is imported after the fork alone: it brings aiohttp, which workers and
master must not carry.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop
from aiohttp import web

from fastgate import __version__
from fastgate._core import GAUGES, TOTALS
from fastgate.control.channel import (
    BadMessageError,
    Channel,
    ChannelClosedError,
    Kind,
    Logs,
    Message,
)
from fastgate.control.events import Events
from fastgate.control.operator import (
    MOST_ORDER_BYTES,
    RefusedError,
    carry_out,
    read_order,
)
from fastgate.control.prober import Prober

if TYPE_CHECKING:
    import socket

    from fastgate._core import Region
    from fastgate.control.logs import ErrorLog
    from fastgate.control.plan import PlanValues

# A worker's loop beats every 250 ms; the master replaces one after 5 s.
SILENT_AFTER_MS = 2000

_METHODS = {
    "/status": ("GET", "HEAD"),
    "/healthz": ("GET", "HEAD"),
    "/reload": ("POST",),
    "/endpoints": ("POST",),
}
# For the request of a connection that was accepted just before the end.
_LAST_REQUESTS_S = 0.1


class Steward:
    """Checks and answers until the master says stop, or is gone."""

    def __init__(
        self,
        region: "Region",
        values: "PlanValues",
        channel: Channel,
        log: "ErrorLog",
        *,
        started_s: float,
    ) -> None:
        """Take what the fork left; `started_s` is the gateway's, CLOCK_MONOTONIC."""
        self._region = region
        self._values = values
        self._channel = channel
        self._log = log
        self._started_s = started_s
        # The reload under way for somebody here, and the one behind it.
        self._reload: asyncio.Future[dict[str, Any]] | None = None
        self._next_reload: asyncio.Future[dict[str, Any]] | None = None
        self._server: asyncio.Server | None = None
        self._events = Events(log)
        self._prober: Prober | None = None

    def run(self, admin: "socket.socket | None") -> None:
        """Work to the end, and answer on a listening Unix socket if there is one."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._work(admin))

    def status(self) -> dict[str, Any]:
        """Give what `fastgate status` shows; counts are over all workers."""
        rows = [self._worker(slot) for slot in range(self._region.workers)]
        # Most of the room for other generations was never used.
        workers = [row for row in rows if row["state"] != "empty"]
        return {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "workers": workers,
            "upstreams": {
                upstream["name"]: {
                    "balance": upstream["balance"],
                    "endpoints": [
                        self._endpoint(upstream["name"], endpoint)
                        for endpoint in upstream["endpoints"]
                    ],
                }
                for upstream in self._values.upstreams
            },
            "listeners": self._values.listeners,
            "events": self._events.listed(),
            "totals": {
                name: sum(worker[name] for worker in workers)
                for name in (*GAUGES, *TOTALS)
            },
        }

    def _worker(self, slot: int) -> dict[str, Any]:
        row = self._region.worker(slot)
        is_silent = row["pid"] and row["heartbeat_age_ms"] >= SILENT_AFTER_MS
        return {"slot": slot, **row, "state": "silent" if is_silent else row["state"]}

    def _endpoint(self, upstream: str, endpoint: dict[str, Any]) -> dict[str, Any]:
        assert self._prober is not None  # whoever asks, it is there before
        slot = self._region.endpoint(endpoint["index"])
        is_skipped = slot["state"] == "up" and slot["skipped_ms"] > 0
        return {
            "address": endpoint["address"],
            "state": "skipped" if is_skipped else slot["state"],
            "admin": slot["admin"],
            "health": slot["health"],
            "weight": slot["weight"],
            "in_flight": slot["in_flight"],
            "total": slot["total"],
            "failures": slot["failures"],
            "connects": slot["connects"],
            "latency_ms": slot["latency_us"] / 1000,
            "check": self._prober.describe(upstream, endpoint["index"]),
        }

    async def _work(self, admin: "socket.socket | None") -> None:
        loop = asyncio.get_running_loop()
        left: asyncio.Future[None] = loop.create_future()
        loop.set_exception_handler(partial(_fail, left))
        self._prober = Prober(loop, self._region, self._events, self._log)
        self._prober.sync(self._values.upstreams)
        loop.add_reader(self._channel.fileno(), self._hear, left)
        async with AsyncExitStack() as at_exit:
            at_exit.callback(self._prober.close)
            if admin is not None:
                await self._serve(admin, at_exit)
            self._channel.send(Message(Kind.READY))
            await left
            # At once: its successor, or nobody, says how endpoints are.
            self._prober.close()
            await self._say_goodbye()

    async def _serve(self, admin: "socket.socket", at_exit: AsyncExitStack) -> None:
        """Answer on the admin socket until `at_exit` is closed."""
        runner = web.ServerRunner(web.Server(self._answer, access_log=None))
        at_exit.push_async_callback(runner.cleanup)
        await runner.setup()
        assert runner.server is not None  # setup made it
        # aiohttp's own site would bind the path anew; the master has bound it. It
        # also takes the path away: from Python 3.13 a server would try to, and fail
        # before it serves where the steward may not see the directory any more.
        keep: dict[str, Any] = {}
        if sys.version_info >= (3, 13):
            keep["cleanup_socket"] = False
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(runner.server, sock=admin, **keep)
        at_exit.callback(self._server.close)

    async def _say_goodbye(self) -> None:
        """Answer who has come already; who comes now is the successor's."""
        if self._server is None:
            return
        self._server.close()
        await asyncio.sleep(_LAST_REQUESTS_S)
        if asked := [one for one in (self._reload, self._next_reload) if one]:
            await asyncio.wait(asked)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        methods = _METHODS.get(request.path)
        if methods is None:
            return web.Response(status=404, text="not found\n")
        if request.method not in methods:
            # RFC 9110 15.5.6: a 405 names what is allowed.
            return web.Response(status=405, headers={"Allow": ", ".join(methods)})
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        status = 200
        if request.path == "/reload":
            answer = await self._ask_for_reload()
            status = 200 if answer["ok"] else 409
        elif request.path == "/endpoints":
            answer = self._obey(await _body_of(request))
            status = 200 if answer["ok"] else 409
        else:
            answer = self.status()
        text = json.dumps(answer)
        return web.Response(status=status, text=text, content_type="application/json")

    def _obey(self, body: bytes) -> dict[str, Any]:
        """Do what an operator says of endpoints, all of it or nothing."""
        try:
            order = read_order(body, self._values.upstreams)
        except RefusedError as refused:
            return {"ok": False, "lines": [str(refused)]}
        return {"ok": True, "lines": carry_out(order, self._region, self._events)}

    async def _ask_for_reload(self) -> dict[str, Any]:
        """Have the master reload; all who ask while it does share the next one."""
        loop = asyncio.get_running_loop()
        if self._reload is None:
            answer = self._reload = loop.create_future()
        elif self._next_reload is None:
            answer = self._next_reload = loop.create_future()
        else:
            return await asyncio.shield(self._next_reload)
        if not self._channel.send(Message(Kind.RELOAD)):
            answer.set_result({"ok": False, "lines": ["the master is gone"]})
        return await asyncio.shield(answer)

    def _take_answer(self, message: Message) -> None:
        answer, self._reload = self._reload, self._next_reload
        self._next_reload = None
        if answer is not None and not answer.done():
            lines = message.data.decode(errors="replace").splitlines()
            answer.set_result({"ok": message.value == 1, "lines": lines})

    def _hear(self, left: "asyncio.Future[None]") -> None:
        try:
            received = self._channel.receive_with_logs()
        except (ChannelClosedError, BadMessageError):
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            for _ in range(2):
                self._take_answer(Message(Kind.RELOADED, data=b"the master is gone"))
            received = Message(Kind.STOP), []
        if received is None:
            return
        message, fds = received
        if message.kind is Kind.LOGS and Logs.ERROR in message.logs:
            self._log.replace(fds.pop())
        elif message.kind is Kind.RELOADED:
            self._take_answer(message)
        elif message.kind is Kind.STOP and not left.done():
            left.set_result(None)


async def _body_of(request: web.BaseRequest) -> bytes:
    """Read an order to its end, or as far as shows that it is too long."""
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > MOST_ORDER_BYTES:
            break
    return bytes(body)


def _fail(
    left: "asyncio.Future[None]",
    _loop: asyncio.AbstractEventLoop,
    context: dict[str, Any],
) -> None:
    """End on an error in a callback: the master starts a sound steward."""
    error = context.get("exception") or RuntimeError(context["message"])
    if not left.done():
        left.set_exception(error)
