"""Load that checks every answer: a nonce goes out, the same nonce must come back."""

from __future__ import annotations

import threading

from support.client import Client, TruncatedError, request
from support.origin import pattern


class Load:
    """Threads that ask for `/size/N` on keep-alive connections until told to stop.

    served   whole answers that belonged to their request
    refused  connections that could not be made
    lost     requests whose connection ended before their answer did
    wrong    answers that belonged to another request, or were not 200
    """

    def __init__(
        self, address: str, *, threads: int = 16, size: int = 100, reuse: int = 50
    ) -> None:
        self.address = address
        self.size = size
        self.reuse = reuse
        self.refused = 0
        self.lost = 0
        self.wrong: list[str] = []
        self._served = [0] * threads
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(n,), daemon=True)
            for n in range(threads)
        ]

    @property
    def served(self) -> int:
        return sum(self._served)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(15)

    def _work(self, index: int) -> None:
        body = pattern(self.size)
        while not self._is_over.is_set():
            try:
                client = Client(self.address)
            except OSError:
                with self._lock:
                    self.refused += 1
                continue
            with client:
                for _ in range(self.reuse):
                    nonce = f"{index}-{self._served[index]}"
                    asked = request("GET", f"/size/{self.size}", {"X-Nonce": nonce})
                    try:
                        client.send(asked)
                        answer = client.read_response()
                    except (TruncatedError, OSError):
                        with self._lock:
                            self.lost += 1
                        break
                    if (answer.status, answer.value("x-nonce"), answer.body) != (
                        200,
                        nonce.encode(),
                        body,
                    ):
                        with self._lock:
                            self.wrong.append(f"{nonce}: {answer.raw[:200]!r}")
                    self._served[index] += 1
                    if answer.is_last or self._is_over.is_set():
                        break
