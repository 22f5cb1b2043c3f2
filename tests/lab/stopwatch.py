"""A client whose stopwatch runs from a request's last bytes until the app is called.

The app, ``clock_app``, answers with its time: CLOCK_MONOTONIC is the same in all processes. So the
time of the service, and of a client that waits for a processor to read, is no part of a wait.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

_KEPT = b"GET /%s HTTP/1.1\r\nHost: test\r\n\r\n"
_CLOSED = b"GET /%s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
_DIGITS = 20


class Client:
    """A connection with a stopwatch.

    :param context: of TLS; the handshake is done when the client is made.
    :ivar sent_ns: start of the latest call of ``send``, CLOCK_MONOTONIC.
    :ivar sending_ms: time that this call took.
    """

    def __init__(
        self, port: int, *, kept: bool = False, context: ssl.SSLContext | None = None
    ) -> None:
        self._request = _KEPT if kept else _CLOSED
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        if context is not None:
            self._sock = context.wrap_socket(self._sock)
        self.sent_ns, self.sending_ms = 0, 0.0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sock.close()

    def send(self, query: str = "") -> None:
        """Send a request, and start the stopwatch."""
        self.send_octets(self._request % (f"?{query}" if query else "").encode())

    def send_octets(self, octets: bytes) -> None:
        """Send a request or a part, and start the stopwatch anew."""
        self.sent_ns = time.monotonic_ns()
        self._sock.sendall(octets)
        self.sending_ms = (time.monotonic_ns() - self.sent_ns) / 1e6

    def waited_ms(self) -> float:
        """Receive the answer, and return the time until the app was called."""
        return (self.called_ns() - self.sent_ns) / 1e6

    def called_ns(self) -> int:
        """Receive the answer, and return the time at which the app was called."""
        answer = b""
        while len(answer.partition(b"\r\n\r\n")[2]) < _DIGITS:
            part = self._sock.recv(4096)
            assert part, answer
            answer += part
        if self._request is _CLOSED:
            while self._sock.recv(4096):
                pass
            self._sock.close()
        return int(answer[-_DIGITS:])


def waits_of(clients: Sequence[Client]) -> list[float]:
    """Return the waits of clients that have sent; each closes as soon as it has its answer.

    gunicorn 27 lets no other client on before: it waits up to two seconds for the close.
    """
    with ThreadPoolExecutor(len(clients)) as threads:
        return list(threads.map(Client.waited_ms, clients))


def ask(port: int) -> float:
    """Return the wait of one request on a connection of its own."""
    with Client(port) as client:
        client.send()
        return client.waited_ms()


def at_rate(port: int, per_second: float, seconds: float) -> list[float]:
    """Return the waits of requests at a rate, each on a connection of its own."""
    waited_ms = []
    due_s, end_s = time.monotonic(), time.monotonic() + seconds
    while due_s < end_s:
        time.sleep(max(0.0, due_s - time.monotonic()))
        waited_ms.append(ask(port))
        due_s += 1 / per_second
    return waited_ms


def as_fast_as_possible(port: int, clients: int, seconds: float, *, kept: bool) -> list[float]:
    """Return the waits of clients that each send one request after the other."""
    waited_ms: list[float] = []
    end_s = time.monotonic() + seconds

    def on_one_connection() -> None:
        with Client(port, kept=True) as client:
            while time.monotonic() < end_s:
                client.send()
                waited_ms.append(client.waited_ms())

    def on_many() -> None:
        while time.monotonic() < end_s:
            waited_ms.append(ask(port))

    threads = [
        threading.Thread(target=on_one_connection if kept else on_many) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waited_ms
