"""A worker: uvloop around the engine, until the master says to leave.

Runs in: worker.

uvloop sleeps; the engine's own epoll descriptor is one of its readers. Python
runs here only to beat the heart, to flush the log and to hear the master.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import uvloop

from fastgate.control.channel import (
    BadMessageError,
    Channel,
    ChannelClosedError,
    Kind,
    Logs,
    Message,
)
from fastgate.control.incidents import Teller
from fastgate.control.libc import keep_large_buffers
from fastgate.control.logs import Drops

if TYPE_CHECKING:
    import socket

    from fastgate._core import Engine, Region
    from fastgate.control.logs import ErrorLog
    from fastgate.control.plan import PlanValues

HEARTBEAT_S = 0.25
# While draining only: how often the engine is asked whether it is done.
_DRAINED_EVERY_S = 0.02
# Of a soft leave: what letting idle clients go takes, for those that speak just then.
_LET_GO_BEFORE_S = 1.0


class Worker:
    """Serves with `engine` until told to leave, or until the master is gone."""

    def __init__(
        self,
        name: str,
        row: int,
        region: "Region",
        channel: Channel,
        log: "ErrorLog",
        *,
        drain_ms: int,
        flush_ms: int,
        sockets: "Sequence[socket.socket]",
        values: "PlanValues",
    ) -> None:
        """Take what the fork left.

        row       its own in shared memory
        drain_ms  how long to finish requests when the master is gone
        flush_ms  how often the access log is flushed; 0 = there is none
        sockets   the listening ones that the engine watches
        values    the names of what the engine knows by number
        """
        self._name = name
        self._row = row
        self._region = region
        self._channel = channel
        self._log = log
        self._drain_ms = drain_ms
        self._flush_s = flush_ms / 1000
        self._sockets = sockets
        self._teller = Teller(values, log)
        self._drops = Drops(f"{name}: access log", log)
        self._leave_at_s: float | None = None
        self.is_ready = False

    def run(self, make_engine: "Callable[[], Engine]") -> None:
        """Serve to the end. Raises what the engine raises, before it is ready."""
        keep_large_buffers()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(make_engine))

    async def _serve(self, make_engine: "Callable[[], Engine]") -> None:
        self._loop = asyncio.get_running_loop()
        self._left: asyncio.Future[None] = self._loop.create_future()
        self._loop.set_exception_handler(self._fail)
        self._engine = make_engine()
        try:
            self._beat()
            self._loop.add_reader(self._engine.fd, self._engine.poll)
            self._loop.add_reader(self._channel.fileno(), self._hear)
            if self._flush_s:
                self._loop.call_later(self._flush_s, self._flush)
            # What start-up made lives as long as the worker: never scan it again.
            gc.collect()
            gc.freeze()
            self._region.set_worker_state(self._row, "ready")
            self._channel.send(Message(Kind.READY))
            self.is_ready = True
            await self._left
        finally:
            self._teller.tell(self._engine, leaving=True)
            cut = self._engine.exchanges
            self._engine.close()
            self._refuse()
            self._drops.close(self._engine.log_state()[0])
            if self.is_ready:
                self._channel.send(Message(Kind.LEFT, cut))

    def _beat(self) -> None:
        self._region.heartbeat(self._row)
        # Traffic does it too, but there may be none.
        self._engine.follow()
        self._teller.tell(self._engine)
        self._drops.look(*self._engine.log_state())
        self._log.check()
        self._loop.call_later(HEARTBEAT_S, self._beat)

    def _flush(self) -> None:
        self._engine.flush_log()
        self._loop.call_later(self._flush_s, self._flush)

    def _hear(self) -> None:
        """Do what the master says; its silence for ever means drain."""
        try:
            received = self._channel.receive_with_logs()
        except (ChannelClosedError, BadMessageError):
            self._loop.remove_reader(self._channel.fileno())
            self._log.warning(f"{self._name}: the master is gone; draining")
            self._drain(self._drain_ms)
            return
        if received is None:
            return
        message, fds = received
        if message.kind is Kind.DRAIN:
            self._drain(message.value)
        elif message.kind is Kind.LEAVE:
            self._leave_softly(message.value, message.data)
        elif message.kind is Kind.STOP:
            self._leave()
        elif message.kind is Kind.LOGS:
            self._take_logs(message.logs, fds)

    def _take_logs(self, logs: Logs, fds: list[int]) -> None:
        if Logs.ACCESS in logs:
            self._engine.reopen_log(fds.pop(0))
        if Logs.ERROR in logs:
            self._log.replace(fds.pop(0))

    def _leave_softly(self, within_ms: int, handed_on: bytes) -> None:
        """Take nobody new; idle clients go with their next answer, as it tells them.

        Those that say nothing are let go shortly before the time is up, as in a drain.
        """
        if self._leave_at_s is not None:
            return
        self._engine.leave(handed_on)
        self._begin_to_leave(within_ms)
        let_go_s = max(0.0, within_ms / 1000 - _LET_GO_BEFORE_S)
        self._loop.call_later(let_go_s, self._engine.drain)

    def _drain(self, within_ms: int) -> None:
        self._engine.drain()
        self._begin_to_leave(within_ms)

    def _begin_to_leave(self, within_ms: int) -> None:
        leave_at_s = time.monotonic() + within_ms / 1000
        if self._leave_at_s is not None:
            self._leave_at_s = min(self._leave_at_s, leave_at_s)
            return
        self._leave_at_s = leave_at_s
        self._region.set_worker_state(self._row, "draining")
        self._refuse()
        self._leave_when_drained()

    def _refuse(self) -> None:
        """Close the sockets that the engine listened on; their queues are empty.

        New clients would otherwise wait here for nobody: until the drain is over, or
        for as long as a dead log disk keeps the process from ending.
        """
        for sock in self._sockets:
            sock.close()

    def _leave_when_drained(self) -> None:
        if self._engine.is_drained():
            self._leave()
        elif self._leave_at_s is not None and time.monotonic() >= self._leave_at_s:
            if cut := self._engine.exchanges:
                self._log.warning(
                    f"{self._name}: cut {cut} exchanges that outlasted the drain"
                )
            self._leave()
        else:
            self._loop.call_later(_DRAINED_EVERY_S, self._leave_when_drained)

    def _leave(self) -> None:
        if not self._left.done():
            self._left.set_result(None)

    def _fail(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End on an error in a callback: the master starts a sound worker."""
        error = context.get("exception") or RuntimeError(context["message"])
        if not self._left.done():
            self._left.set_exception(error)
