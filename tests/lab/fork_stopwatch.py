"""A stopwatch on os.fork() in the arbiter, started by the config file before our hooks.

Each fork writes one line into the file $FORKS: the duration of the whole call, and that of the
fork handlers registered after the stopwatch, both in nanoseconds. The handlers registered last run
first before a fork, and last after a fork: the stopwatch is read where ours end and begin.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_before_ns = _after_ns = 0


def _read_before() -> None:
    global _before_ns
    _before_ns = time.monotonic_ns()


def _read_after() -> None:
    global _after_ns
    _after_ns = time.monotonic_ns()


def begin() -> None:
    """Time each fork of this process from now on."""
    fork = os.fork
    log = os.open(os.environ["FORKS"], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o666)
    os.register_at_fork(before=_read_before, after_in_parent=_read_after)

    def timed() -> int:
        began_ns = time.monotonic_ns()
        pid = fork()
        ended_ns = time.monotonic_ns()
        if pid:
            gate_ns = (_before_ns - began_ns) + (ended_ns - _after_ns)
            os.write(log, f"{ended_ns - began_ns} {gate_ns}\n".encode())
        return pid

    os.fork = timed


class Fork(NamedTuple):
    """The duration of one fork, and of our handlers in that fork."""

    whole_ms: float
    added_ms: float


def forks(log: Path) -> list[Fork]:
    """Return the forks that the stopwatch has written so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [Fork(*(int(ns) / 1e6 for ns in line.split())) for line in lines]


def described(values_ms: Sequence[float]) -> str:
    """Return the median, the 99th percentile and the maximum."""
    percentiles = statistics.quantiles(values_ms, n=100, method="inclusive")
    return f"{percentiles[49]:.3f} / {percentiles[98]:.3f} / {max(values_ms):.3f} ms"
