"""Clients that connect all at once: a program that prints how many were answered and reset."""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter

HOST = "127.0.0.1"


def connect(port: int, clients: int) -> list[socket.socket]:
    """Return so many connections, each with a request to ``/block/0.02``."""
    connected = []
    for _ in range(clients):
        client = socket.create_connection((HOST, port), timeout=60)
        client.sendall(b"GET /block/0.02 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        connected.append(client)
    return connected


def outcomes(connected: list[socket.socket]) -> Counter[str]:
    """Return how many connections were answered, reset, and closed without an answer."""
    found: Counter[str] = Counter()
    for client in connected:
        with client:
            try:
                answer = b"".join(iter(lambda c=client: c.recv(65536), b""))  # type: ignore[misc]
            except (ConnectionResetError, BrokenPipeError):
                found["reset"] += 1
            else:
                found["answered" if answer else "closed"] += 1
    return found


def main() -> None:
    """Print the outcomes of ``CLIENTS`` connections to ``PORT`` as JSON."""
    port, clients = map(int, sys.argv[1:])
    print(json.dumps(outcomes(connect(port, clients))))


if __name__ == "__main__":
    main()
