"""Things measured in turns, so that whatever else the machine does befalls all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import TypeVar

T = TypeVar("T")

CONFIDENCE = 0.95


def in_turns(cases: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measure each case once a round, every other round from the last to the first."""
    found: dict[str, list[T]] = {name: [] for name in cases}
    for number in range(rounds):
        names = list(cases)
        for name in reversed(names) if number % 2 else names:
            found[name].append(cases[name]())
    return found


def differences(more: Sequence[float], less: Sequence[float]) -> list[float]:
    """Return by how much the first is more than the second, round by round."""
    return [a - b for a, b in zip(more, less, strict=True)]


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return the first in terms of the second, round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return two of the values between which the median lies with CONFIDENCE, if there are enough.

    How many of n values lie below the median is as with n coins: so no shape is assumed.
    """
    ordered, n = sorted(values), len(values)
    below = 0.0
    for rank in range(n // 2):
        below += comb(n, rank) / 2**n
        if 2 * below > 1 - CONFIDENCE:
            break
    else:
        rank = n // 2
    low = max(0, rank - 1)
    return ordered[low], ordered[n - 1 - low]


def target(reached: float, limit: float, unit: str = "") -> str:
    """Return what the figure was to be at the most, and whether it is."""
    limited = f"{limit:g} {unit}".strip()
    return f"target {limited}: {'met' if reached <= limit else 'missed'}"


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
