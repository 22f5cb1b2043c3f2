"""What clients feel of a server: how long its answers take, and its end."""

from __future__ import annotations

import signal
import time
from statistics import quantiles

from tests.lab.server import Server


def answer_ms(server: Server, requests: int) -> list[float]:
    """Send so many requests, one after the other, and return how long each answer took.

    Raises OSError if one is not answered.
    """
    found = []
    for _ in range(requests):
        began_s = time.perf_counter()
        assert server.get()
        found.append((time.perf_counter() - began_s) * 1000)
    return found


def p99(values: list[float]) -> float:
    """Return the value that one in a hundred exceeds."""
    return quantiles(values, n=100)[-1]


def end_ms(server: Server) -> float:
    """Send TERM, and return how long the arbiter takes to end."""
    began_s = time.perf_counter()
    server.signal(signal.SIGTERM)
    assert server.process.wait() == 0, server.log
    return (time.perf_counter() - began_s) * 1000
