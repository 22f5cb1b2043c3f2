"""Measurements in turns, which spread the noise of the machine evenly over the cases."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import TypeVar

T = TypeVar("T")

CONFIDENCE = 0.95


def in_turns(cases: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Return the values of each case, one per round; every other round runs in reverse order."""
    found: dict[str, list[T]] = {name: [] for name in cases}
    for number in range(rounds):
        names = list(cases)
        for name in reversed(names) if number % 2 else names:
            found[name].append(cases[name]())
    return found


def differences(more: Sequence[float], less: Sequence[float]) -> list[float]:
    """Return ``more`` minus ``less``, round by round."""
    return [a - b for a, b in zip(more, less, strict=True)]


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return ``over`` divided by ``under``, round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return two of the values that enclose the median with CONFIDENCE, given enough values.

    The number of values below the median is binomial with p = 1/2, whatever their distribution.
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
    """Return the target, and whether the figure met the target."""
    limited = f"{limit:g} {unit}".strip()
    return f"target {limited}: {'met' if reached <= limit else 'missed'}"


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
