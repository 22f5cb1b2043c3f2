"""A time-lapse of a real server: each push, ten per second, stands for ten seconds.

The Agent keeps one value of ten seconds. Monitors and autoscalers look at minutes, which a test
would have to wait for.
"""

from __future__ import annotations

from agent import StandInAgent

from tests.datadog.agent_flush import FLUSH_S, Received, flush
from tests.lab.pushes import next_pushes

INTERVAL_S = 0.1


def minutes(agent: StandInAgent, count: int) -> Received:
    """Wait for the pushes that stand for these minutes, and return what Datadog receives."""
    pushes = next_pushes(agent, count * 60 // FLUSH_S)
    at_s = [number * FLUSH_S + FLUSH_S / 2 for number in range(len(pushes))]
    lines = [push.lines for push in pushes]
    return flush(zip(at_s, lines, strict=True), len(pushes) * FLUSH_S)
