"""Ports for servers and Agents under test: none is given out twice.

The kernel reuses a port of ``bind`` to 0, or of a client's connection, as soon as the port is
closed. Another test could get that port, and receive the pushes of an earlier server. Our ports are
therefore below ``net.ipv4.ip_local_port_range``. Each test process of the machine, also of another
run of the tests, has a range of its own, and gives out each port once before a repetition.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

FIRST, LAST = 10_000, 32_767
RANGES = 64  # of 355 ports


def _own_range() -> range:
    """Return a range of ports that no other process has."""
    for number in range(RANGES):
        path = Path(tempfile.gettempdir()) / f"gunicorn_backlog-ports-{number}.lock"
        try:
            # Held until the process ends. Another user's file can't be opened.
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        size = (LAST - FIRST) // RANGES
        return range(FIRST + number * size, FIRST + (number + 1) * size)
    raise AssertionError(f"{RANGES} other test processes have all ports")


@cache
def _next_ports() -> Iterator[int]:
    return cycle(_own_range())


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """Return a port without a listener."""
    for port in _next_ports():
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
