"""Clients that compare the wait in each answer of ``exposing_apps`` with their own stopwatch."""

from __future__ import annotations

import json
import socket
import time
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple


class Answer(NamedTuple):
    """An answer, and the shortest and the longest wait that the client's stopwatch allows, in ms.

    given: in ``environ`` or the scope. seen: where ``waited_ms()`` has to be the same.
    none: in threads that do not have the request's context.
    """

    given: int | None
    seen: list[int | None]
    none: list[int | None]
    low_ms: float
    high_ms: float

    @property
    def error_ms(self) -> float:
        """The difference of the given wait and the stopwatch."""
        assert self.given is not None
        return max(0.0, self.low_ms - self.given, self.given - self.high_ms)

    def check_agrees(self) -> None:
        """Check that all places show one wait, and the others none."""
        assert set(self.seen) == {self.given}, self
        assert set(self.none) == {None}, self


class Client(HTTPConnection):
    """A connection to a server at a TCP port, or at the path of a Unix socket."""

    def __init__(self, address: int | Path) -> None:
        super().__init__("127.0.0.1", address if isinstance(address, int) else None, timeout=60)
        self._path = None if isinstance(address, int) else address

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect, as http.client does, also again after the server closed the connection."""
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Return the answer to a request; the stopwatch starts when the client is connected."""
        if self.sock is None:
            self.connect()
        began_ns = time.monotonic_ns()
        self.request("GET", path, headers=headers or {})
        sent_ns = time.monotonic_ns()
        body = json.loads(self.getresponse().read())
        low_ms, high_ms = ((body["called_ns"] - ns) / 1e6 for ns in (sent_ns, began_ns))
        seen = body["seen"] + body["streamed"]
        return Answer(body["given"], seen, body["none"], low_ms, high_ms)
