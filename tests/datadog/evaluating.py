"""A monitor of one group, evaluated on synthetic series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.datadog.agent_flush import Received, Series
from tests.datadog.evaluator import evaluate

A, B = frozenset({"app:a", "host:1"}), frozenset({"app:a", "host:2"})
NUMBERS = {10 * number: float(number) for number in range(30)}  # five minutes, up to 29


def received(**metrics: Mapping[int, float]) -> Received:
    """Return series of one host."""
    series = tuple(Series(name, A, points) for name, points in metrics.items())
    return Received(series, (), 300)


def state(query: str, got: Received, at_s: float = 300, **options: Any) -> str:
    """Return the state of the only group."""
    usual = {"thresholds": {}, "on_missing_data": "show_no_data", "require_full_window": False}
    definition = {"query": query, "options": usual | options}
    (found,) = evaluate(definition, got, at_s).values()
    return found
