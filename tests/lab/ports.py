"""Ports for servers and Agents under test: none is given out twice.

The kernel reuses a port of ``bind`` to 0, or of a client's connection, as soon as the port is
closed. Another test could get that port, and receive the pushes of an earlier server. Our ports are
therefore below ``net.ipv4.ip_local_port_range``. Each test process has a range of its own, and
gives out each port once before a repetition.
"""

from __future__ import annotations

import os
import socket
from itertools import cycle

FIRST, LAST = 10_000, 32_767
PROCESSES = 16


def _ports() -> range:
    """Return the ports of this process, by its number among pytest-xdist's workers."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    size = (LAST - FIRST) // PROCESSES
    begin = FIRST + int(name.removeprefix("gw")) % PROCESSES * size
    return range(begin, begin + size)


def _from_anywhere(ports: range) -> list[int]:
    """Return the ports, starting at one that depends on the pid.

    Concurrent test runs on one machine then probably use different ports.
    """
    at = os.getpid() % len(ports)
    return [*ports[at:], *ports[:at]]


_next = cycle(_from_anywhere(_ports()))


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """Return a port without a listener."""
    for port in _next:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
