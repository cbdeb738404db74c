"""One TCP relay that breaks things on demand, between gateway and origin.

    proxy.inject(Fault("cut", after=100))
    proxy.inject(Fault("stall", direction="request"))

A fault applies to connections accepted after it was injected, until `heal`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass

from support import addresses

READ_BYTES = 65536


@dataclass(frozen=True)
class Fault:
    """What happens to one direction of a connection.

    kind       cut         FIN both ways to both peers
               reset       RST to both peers
               stall       take nothing more and pass nothing on, until released
               trickle     pass on `step` bytes each `pause_s`
               half_close  FIN toward the receiver; the other direction lives on
    direction  `response` (origin to gateway) or `request`
    after      bytes of that direction passed on unharmed before it
    """

    kind: str
    direction: str = "response"
    after: int = 0
    step: int = 1
    pause_s: float = 0.01


class FaultProxy:
    """Relays `address` to `target`; see the module."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.accepted = 0
        self.stopping = threading.Event()
        self.released = threading.Event()
        self._faults: tuple[Fault, ...] = ()
        self._limit: int | None = None
        self._links: list[Link] = []
        self.listener, self.address = addresses.listen()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def inject(self, *faults: Fault, connections: int | None = None) -> None:
        """Apply `faults` to what is accepted next: to `connections` of them, or all."""
        self.released.clear()
        self._faults = faults
        self._limit = connections

    def heal(self) -> None:
        """New connections pass unharmed; stalled ones go on."""
        self._faults = ()
        self._limit = None
        self.released.set()

    def drop_connections(self, *, reset: bool = False) -> None:
        """Hang up on everybody now."""
        for link in list(self._links):
            link.reset() if reset else link.cut()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.stopping.set()
        self.released.set()
        self._acceptor.join(5)
        for link in self._links:
            link.cut()
            link.join()

    def _accept(self) -> None:
        while True:
            try:
                down, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            faults = self._faults
            if self._limit is not None:
                if self._limit == 0:
                    faults = ()
                else:
                    self._limit -= 1
            try:
                up = addresses.connect(self.target)
            except OSError:
                addresses.reset(down)
                continue
            down.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links.append(Link(self, down, up, faults))


class Link:
    """One relayed connection: two threads, one for each direction."""

    def __init__(
        self,
        proxy: FaultProxy,
        down: socket.socket,
        up: socket.socket,
        faults: tuple[Fault, ...],
    ) -> None:
        self.proxy = proxy
        self.down = down
        self.up = up
        down.settimeout(None)
        up.settimeout(None)
        by_direction = {fault.direction: fault for fault in faults}
        self._open_directions = 2
        self._is_broken = False
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._relay, args=pair, daemon=True)
            for pair in (
                (down, up, by_direction.get("request")),
                (up, down, by_direction.get("response")),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _relay(
        self, source: socket.socket, sink: socket.socket, fault: Fault | None
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while True:
                if fault and passed >= fault.after and fault.kind != "trickle":
                    self._strike(fault, sink)
                    if fault.kind != "stall":
                        return
                    fault = None
                data = source.recv(READ_BYTES)
                if not data:
                    break
                if fault:
                    unharmed = data[: max(0, fault.after - passed)]
                    sink.sendall(unharmed)
                    passed += len(unharmed)
                    data = data[len(unharmed) :]
                    if not data:
                        continue
                    self._strike(fault, sink, data)
                    if fault.kind not in ("stall", "trickle"):
                        return
                    if fault.kind == "stall":
                        fault = None
                        sink.sendall(data)
                    continue
                sink.sendall(data)
        self._direction_ended(sink)

    def _strike(self, fault: Fault, sink: socket.socket, data: bytes = b"") -> None:
        if fault.kind == "cut":
            self.cut()
        elif fault.kind == "reset":
            self.reset()
        elif fault.kind == "half_close":
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        elif fault.kind == "stall":
            self.proxy.released.wait()
        else:
            for start in range(0, len(data), fault.step):
                sink.sendall(data[start : start + fault.step])
                if self.proxy.stopping.wait(fault.pause_s):
                    return

    def _direction_ended(self, sink: socket.socket) -> None:
        if self._is_broken:
            return
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open_directions -= 1
            is_over = self._open_directions == 0
        if is_over:
            self.down.close()
            self.up.close()

    def cut(self) -> None:
        self._is_broken = True
        for sock in (self.down, self.up):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        self._is_broken = True
        for sock in (self.down, self.up):
            with contextlib.suppress(OSError):
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
                )
            # A thread blocked in recv holds the socket open; wake it first.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
            sock.close()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(5)
        self.down.close()
        self.up.close()
