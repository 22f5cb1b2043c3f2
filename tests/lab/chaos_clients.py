"""Clients that end their requests in many ways, and some that kill workers."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle

from tests.lab.server import Server, request

CLIENTS = 6
TIMEOUT_S = 3.0
HEAD = b"GET /plain HTTP/1.1\r\nHost: test\r\n"


class ChaosClients:
    """Sends requests from several clients.

    :param rarely: requests for each request that kills a worker.
    :param without: keys of WEIGHTS to leave out.
    :param each: whether the first requests have each kind once, for short runs.
    :ivar sent: requests by kind.
    :ivar kills_s: times at which workers were killed.
    """

    def __init__(
        self,
        server: Server,
        requests: int,
        *,
        rarely: int = 300,
        without: Collection[str] = (),
        each: bool = False,
    ) -> None:
        self.sent: Counter[str] = Counter()
        self.kills_s: list[float] = []
        self._server = server
        self._requests = requests
        self._rarely = rarely
        self._deaths = cycle(DEATHS)
        self._weights = {how: weight for how, weight in WEIGHTS.items() if how not in without}
        self._first = [*self._weights, *DEATHS] if each else []

    def run(self) -> None:
        """Send all requests, and return after the last response or failure."""
        clients = [threading.Thread(target=self._send, args=(seed,)) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _send(self, seed: int) -> None:
        chance = random.Random(seed)
        first = self._first[seed::CLIENTS]
        for _ in range(self._requests // CLIENTS):
            if first:
                how = first.pop(0)
            elif chance.random() < 1 / self._rarely:
                how = next(self._deaths)
            else:
                how = chance.choices(tuple(self._weights), tuple(self._weights.values()))[0]
            self.sent[how] += 1
            with suppress(OSError):
                getattr(self, f"_{how}")(chance)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._server.port), timeout=TIMEOUT_S)

    def _get(self, path: str) -> None:
        with self._connect() as client:
            client.sendall(request(path))
            while client.recv(65536):
                pass

    def _well(self, chance: random.Random) -> None:
        self._get("/plain")

    def _stream(self, chance: random.Random) -> None:
        self._get("/stream")

    def _fail(self, chance: random.Random) -> None:
        self._get(chance.choice(("/fail", "/fail-late")))

    def _leave(self, chance: random.Random) -> None:
        """Call sys.exit() in the app: a sync worker responds with 500, or ends."""
        with self._killing():
            self._get("/leave")

    def _several(self, chance: random.Random) -> None:
        """Send several requests on one connection, if the worker keeps it alive."""
        with self._connect() as client:
            for _ in range(3):
                client.sendall(HEAD + b"\r\n")
                client.recv(65536)

    def _at_once(self, chance: random.Random) -> None:
        """Send two requests in one packet."""
        with self._connect() as client:
            client.sendall(HEAD + b"\r\n" + request("/plain"))
            while client.recv(65536):
                pass

    def _part(self, chance: random.Random) -> None:
        with self._connect() as client:
            client.sendall(HEAD[: chance.randrange(len(HEAD))])

    def _nothing(self, chance: random.Random) -> None:
        self._connect().close()

    def _junk(self, chance: random.Random) -> None:
        with self._connect() as client:
            client.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
            client.recv(65536)

    def _head(self, chance: random.Random) -> None:
        with self._connect() as client:
            client.sendall(b"HEAD /plain HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            client.recv(65536)

    def _reset(self, chance: random.Random) -> None:
        """Reset the connection during the request or the response."""
        with self._connect() as client:
            client.sendall(request(chance.choice(("/endless", "/last/5", "/stream"))))
            if chance.random() < 0.5:
                client.recv(chance.randint(1, 300))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _kill(self, chance: random.Random) -> None:
        self._signal(chance, signal.SIGKILL)

    def _abort(self, chance: random.Random) -> None:
        """Send SIGABRT, as the arbiter does to a worker after the timeout."""
        self._signal(chance, signal.SIGABRT)

    def _overdue(self, chance: random.Random) -> None:
        """Send a request whose response takes longer than the server's timeout."""
        with self._killing():
            self._get("/last/2500")

    @contextmanager
    def _killing(self) -> Iterator[None]:
        """Record the times before and after a worker may die."""
        self.kills_s.append(time.monotonic())
        try:
            yield
        finally:
            self.kills_s.append(time.monotonic())

    def _signal(self, chance: random.Random, number: signal.Signals) -> None:
        with self._connect() as client:
            client.sendall(request("/last/20"))
            self.kills_s.append(time.monotonic())
            with suppress(ProcessLookupError, IndexError):
                os.kill(chance.choice(sorted(self._server.worker_pids())), number)
            client.recv(65536)


DEATHS = ("abort", "kill", "overdue")
# Relative frequencies, apart from the requests that kill.
WEIGHTS = {
    "well": 40,
    "several": 10,
    "at_once": 5,
    "stream": 5,
    "fail": 4,
    "leave": 0.2,
    "part": 5,
    "nothing": 5,
    "junk": 2,
    "head": 5,
    "reset": 15,
}
