"""Clients that send one request after the other, and count the outcomes."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

from tests.lab.server import Server

HANG_S = 20.0  # a request without an answer for that long counts as hung


class EndlessLoad:
    """Loads a server from several threads while the context is open.

    Outcomes: ``answered``, ``hung``, and ``closed``: refused, reset, or closed without a response,
    as gunicorn's workers close connections that arrive while they end.
    """

    def __init__(self, server: Server, clients: int = 4) -> None:
        self._ends: list[str] = []
        self._server = server
        self._stop = threading.Event()
        self._clients = [threading.Thread(target=self._send) for _ in range(clients)]

    def __enter__(self) -> EndlessLoad:
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for client in self._clients:
            client.join()

    @property
    def ends(self) -> Counter[str]:
        """The number of requests by outcome."""
        return Counter(self._ends)

    def _send(self) -> None:
        while not self._stop.is_set():
            self._ends.append(self._one_request())

    def _one_request(self) -> str:
        try:
            body = self._server.get(timeout_s=HANG_S)
        except TimeoutError:
            return "hung"
        except OSError:
            return "closed"
        return "answered" if body else "closed"
