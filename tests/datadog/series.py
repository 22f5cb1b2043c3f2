"""The points of each group of a query: aggregation over hosts and time, and arithmetic.

In Datadog's order: the series of the scope, then time (``rollup``), then hosts (each point in time,
each group), then functions and arithmetic. The module supports what our queries use, and refuses
anything else (EvaluationError).
https://docs.datadoghq.com/dashboards/guide/query-to-the-graph/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from statistics import fmean
from typing import NamedTuple

from tests.datadog.agent_flush import FLUSH_S, Received
from tests.datadog.query import (
    Expression,
    Filled,
    Number,
    Operation,
    Operator,
    Selection,
    selections,
)

Group = tuple[str, ...]  # the tags' values in the order of the keys
Points = dict[int, float]

AGGREGATORS: dict[str, Callable[[list[float]], float]] = {
    "avg": fmean,
    "min": min,
    "max": max,
    "sum": sum,
}
OPERATORS: dict[Operator, Callable[[float, float], float]] = {
    "+": float.__add__,
    "-": float.__sub__,
    "*": float.__mul__,
    "/": float.__truediv__,
}


class EvaluationError(ValueError):
    """A construct that the evaluator does not support."""


class Span(NamedTuple):
    """A period; ten seconds that are not over at its end are not known yet."""

    since_s: float
    until_s: float

    def has(self, start_s: float) -> bool:
        """Return whether the ten seconds from ``start_s`` on lie in the span."""
        return self.since_s <= start_s and start_s + FLUSH_S <= self.until_s


def series_of(expression: Expression, received: Received, span: Span) -> dict[Group, Points]:
    """Return the points of each group in a span."""
    if isinstance(expression, Selection):
        return _selected(expression, received, span)
    if isinstance(expression, Filled):
        inner = series_of(expression.inner, received, span)
        return {group: _filled(points, span) for group, points in inner.items()}
    if isinstance(expression, Number):
        raise EvaluationError("a constant alone has no series")
    return _combined(expression, received, span)


def at_zero(expression: Expression) -> float:
    """Return the value of an expression whose selections are all 0, for lack of points."""
    if isinstance(expression, Filled):
        return 0.0
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Operation):
        left, right = at_zero(expression.left), at_zero(expression.right)
        return OPERATORS[expression.operator](left, right)
    raise EvaluationError(f"{expression}: nothing fills it with zeros")


@cache
def group_of(tags: frozenset[str], keys: tuple[str, ...]) -> Group | None:
    """Return the group of a series; None without one of the tags: no monitor sees that series.

    https://docs.datadoghq.com/monitors/configuration/ ("Alert grouping")
    """
    values = dict(tag.split(":", 1) for tag in sorted(tags, reverse=True))
    return tuple(values[key] for key in keys) if values.keys() >= {*keys} else None


def _selected(selection: Selection, received: Received, span: Span) -> dict[Group, Points]:
    factor = FLUSH_S if _counts(selection) else 1  # the Agent sends rates per second
    together: dict[Group, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    since_s, last_s = span.since_s, span.until_s - FLUSH_S
    for series in received.by_metric.get(selection.metric, ()):
        group = group_of(series.tags, selection.by)
        if group is not None and _in_scope(series.tags, selection):
            inside = {
                start: value * factor
                for start, value in series.points.items()
                if since_s <= start <= last_s  # as in Span.has, without a call each
            }
            for start, value in _rolled_up(inside, selection).items():
                together[group][start].append(value)
    aggregate = AGGREGATORS[selection.aggregator]
    return {
        group: {start: float(aggregate(values)) for start, values in points.items()}
        for group, points in together.items()
    }


def _in_scope(tags: frozenset[str], selection: Selection) -> bool:
    for item in selection.scope:
        if item.startswith("$"):
            raise EvaluationError(f"{selection}: a template variable has no value here")
        pattern = item.removeprefix("!")
        if any(fnmatchcase(tag, pattern) for tag in tags) == item.startswith("!"):
            return False
    return True


def _rolled_up(points: Mapping[int, float], selection: Selection) -> Points:
    """Aggregate over a rollup's intervals, which begin at multiples of their length.

    The first and the last interval of a window may be incomplete, as in Datadog's monitors.
    """
    rolled = dict(points)
    for call in selection.calls:
        if call.name == "rollup" and not _counts(selection):
            aggregator, seconds = call.arguments
            buckets: dict[int, list[float]] = defaultdict(list)
            for start, value in rolled.items():
                buckets[start // int(seconds) * int(seconds)].append(value)
            rolled = {at: float(AGGREGATORS[aggregator](its)) for at, its in buckets.items()}
        elif call.name not in ("as_count", "as_rate"):
            raise EvaluationError(f"{selection}: {call.name}() is not known here")
    return rolled


def _counts(selection: Selection) -> bool:
    return "as_count" in [call.name for call in selection.calls]


def _filled(points: Points, span: Span) -> Points:
    """Fill gaps between points with zeros; without any point there is no effect."""
    if not points:
        return points
    first = -(-int(span.since_s) // FLUSH_S) * FLUSH_S
    starts = filter(span.has, range(first, int(span.until_s), FLUSH_S))
    return dict.fromkeys(starts, 0.0) | points


def _combined(operation: Operation, received: Received, span: Span) -> dict[Group, Points]:
    if any(map(_counts, selections(operation))):
        raise EvaluationError(f"{operation}: Datadog adds counts up before it divides them")
    operator = OPERATORS[operation.operator]
    if isinstance(operation.right, Number):
        constant = operation.right.value
        left = series_of(operation.left, received, span)
        return {
            group: {start: operator(value, constant) for start, value in points.items()}
            for group, points in left.items()
        }
    left, right = (series_of(side, received, span) for side in (operation.left, operation.right))
    return {
        group: {
            start: operator(value, right[group][start])
            for start, value in points.items()
            if start in right[group] and (operation.operator != "/" or right[group][start])
        }
        for group, points in left.items()
        if group in right
    }
