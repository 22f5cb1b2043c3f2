"""A stand-in for Datadog's Agent: receives DogStatsD datagrams, and prints them.

    python examples/agent.py udp://127.0.0.1:8125

Nothing is forwarded to Datadog. The protocol:
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gunicorn_backlog.config.agent_address import Address, parse

RECEIVE_BUFFER = 1 << 22  # bytes
LONGEST = 65_536  # bytes of one datagram
FREE_PORT = Address("udp", host="127.0.0.1", port=0)


@dataclass(frozen=True)
class Line:
    """One line of a datagram: a metric, or a service check (type ``_sc``)."""

    name: str
    type: str
    values: tuple[float, ...]
    tags: frozenset[str]

    def tag(self, key: str) -> str | None:
        """Return the value of the first tag with this key."""
        found = sorted(tag for tag in self.tags if tag.startswith(f"{key}:"))
        return found[0].partition(":")[2] if found else None


@dataclass(frozen=True)
class Datagram:
    """The bytes of one datagram or message, and its arrival (``time.monotonic()``)."""

    octets: bytes
    at_s: float

    @property
    def lines(self) -> list[Line]:
        """Parse the datagram. Raises ValueError."""
        return [parse_line(text) for text in self.octets.decode().splitlines() if text]


def parse_line(text: str) -> Line:
    """Parse ``name:value[:value...]|type[|#tags]`` or ``_sc|name|status[|#tags]``.

    Raises ValueError.
    """
    head, *rest = text.split("|")
    tags = [tag for part in rest if part.startswith("#") for tag in part[1:].split(",")]
    if head == "_sc":
        name, status = rest[:2]
        return Line(name, "_sc", (float(status),), frozenset(tags))
    name, *values = head.split(":")
    if not values or not rest:
        raise ValueError(f"not a DogStatsD line: {text!r}")
    return Line(name, rest[0], tuple(map(float, values)), frozenset(tags))


class StandInAgent:
    """Listens at a DogStatsD address in a thread; a context manager.

    ``url``: the address, with a free port if the given port is 0. ``datagrams``: all datagrams so
    far. ``on_datagram`` is called in the thread with each datagram.
    """

    def __init__(
        self, address: Address = FREE_PORT, *, on_datagram: Callable[[Datagram], None] | None = None
    ) -> None:
        self.datagrams: list[Datagram] = []
        self._on_datagram = on_datagram
        self._path = address.path
        self._stop = threading.Event()
        self._socket = _listen(address)
        if address.scheme == "udp":
            address = Address("udp", *self._socket.getsockname()[:2])
        self.url = str(address)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> StandInAgent:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening; a second call does nothing."""
        self._stop.set()
        self._thread.join()
        self._socket.close()
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                if self._socket.type == socket.SOCK_STREAM:
                    self._serve_stream()
                else:
                    self._take(self._socket.recv(LONGEST))
            except TimeoutError:
                continue

    def _serve_stream(self) -> None:
        connection, _ = self._socket.accept()
        connection.settimeout(0.1)
        unread = b""
        with connection:
            while not self._stop.is_set():
                try:
                    received = connection.recv(LONGEST)
                except TimeoutError:
                    continue
                if not received:
                    return
                unread = self._take_framed(unread + received)

    def _take_framed(self, octets: bytes) -> bytes:
        """Take each complete message after its length; return the remaining bytes."""
        while len(octets) >= 4:
            (length,) = struct.unpack_from("<I", octets)
            if len(octets) < 4 + length:
                break
            self._take(octets[4 : 4 + length])
            octets = octets[4 + length :]
        return octets

    def _take(self, octets: bytes) -> None:
        datagram = Datagram(octets, time.monotonic())
        self.datagrams.append(datagram)
        if self._on_datagram is not None:
            self._on_datagram(datagram)


def _listen(address: Address) -> socket.socket:
    if address.scheme == "udp":
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        # Room for a burst while this process waits for a CPU; the kernel clamps the size.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((address.host, address.port))
    else:
        kind = socket.SOCK_STREAM if address.scheme == "unixstream" else socket.SOCK_DGRAM
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(address.path)
        if kind == socket.SOCK_STREAM:
            sock.listen()
    sock.settimeout(0.1)
    return sock


def _show(datagram: Datagram) -> None:
    print(datagram.octets.decode(errors="replace"), flush=True)


def main() -> None:
    """Print all datagrams to the URL of the command line, until Ctrl-C."""
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://127.0.0.1:8125"
    try:
        with StandInAgent(parse(url), on_datagram=_show) as agent:
            print(f"listening at {agent.url}", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        sys.exit(f"{url}: {error}")


if __name__ == "__main__":
    main()
