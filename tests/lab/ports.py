"""Ports for servers and Agents under test: nobody else gets one, neither meanwhile nor afterwards.

A port that the kernel chooses, by ``bind`` to 0 or for a client's connection, is free again as soon
as it is closed, and may then be given to another test: a server that still pushes there would push
into that test's Agent. So ours are below ``net.ipv4.ip_local_port_range``, each process of the
tests has a range of its own, and gives each out once before it begins anew.
"""

from __future__ import annotations

import os
import socket
from itertools import cycle

FIRST, LAST = 10_000, 32_767
PROCESSES = 16


def _ports() -> range:
    """Return those of this process, by its number among pytest-xdist's."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    size = (LAST - FIRST) // PROCESSES
    begin = FIRST + int(name.removeprefix("gw")) % PROCESSES * size
    return range(begin, begin + size)


def _from_anywhere(ports: range) -> list[int]:
    """Begin where another run of the tests on this machine probably does not."""
    at = os.getpid() % len(ports)
    return [*ports[at:], *ports[:at]]


_next = cycle(_from_anywhere(_ports()))


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens at."""
    for port in _next:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
