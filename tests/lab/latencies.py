"""Durations that clients notice: of responses, and of a shutdown."""

from __future__ import annotations

import signal
import time
from statistics import quantiles

from tests.lab.server import Server


def answer_ms(server: Server, requests: int) -> list[float]:
    """Send requests one after the other, and return the duration of each response.

    Raises OSError if a request has no response.
    """
    found = []
    for _ in range(requests):
        began_s = time.perf_counter()
        assert server.get()
        found.append((time.perf_counter() - began_s) * 1000)
    return found


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(values, n=100)[-1]


def end_ms(server: Server) -> float:
    """Send SIGTERM, and return the time until the arbiter ends."""
    began_s = time.perf_counter()
    server.signal(signal.SIGTERM)
    assert server.process.wait() == 0, server.log
    return (time.perf_counter() - began_s) * 1000
