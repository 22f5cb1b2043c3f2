"""A monitor's state at a time, by its own query, thresholds and options.

It knows what our queries use, and refuses anything else (EvaluationError). Aggregation over space
comes first (each point in time, each group), then arithmetic, then the window:
https://docs.datadoghq.com/dashboards/querying/ and https://docs.datadoghq.com/monitors/types/metric/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from tests.datadog.agent_flush import FLUSH_S, Received, Status
from tests.datadog.grammar import parse
from tests.datadog.query import (
    CheckQuery,
    Comparator,
    Expression,
    MetricQuery,
    Number,
    Operation,
    Operator,
    Selection,
    selections,
)

Group = tuple[str, ...]  # its tags' values in the order of the keys
Points = dict[int, float]

OK, WARN, ALERT, NO_DATA = "OK", "Warn", "Alert", "No Data"
CRITICAL = 2  # of a service check

AGGREGATORS: dict[str, Callable[[list[float]], float]] = {
    "avg": fmean,
    "min": min,
    "max": max,
    "sum": sum,
}
COMPARATORS: dict[Comparator, Callable[[float, float], bool]] = {
    ">": float.__gt__,
    ">=": float.__ge__,
    "<": float.__lt__,
    "<=": float.__le__,
}
OPERATORS: dict[Operator, Callable[[float, float], float]] = {
    "+": float.__add__,
    "-": float.__sub__,
    "*": float.__mul__,
    "/": float.__truediv__,
}
KNOWN_OPTIONS = frozenset(
    {
        *("thresholds", "on_missing_data", "require_full_window", "new_group_delay"),
        *("notify_no_data", "no_data_timeframe"),
        *("renotify_interval", "include_tags", "notify_audit"),  # of no effect on the state
    }
)


class EvaluationError(ValueError):
    """Something that the evaluator does not know."""


def evaluate(definition: Mapping[str, Any], received: Received, at_s: float) -> dict[Group, str]:
    """Return the state of each group of a monitor that was ever heard of.

    :param definition: a monitor as Datadog's API takes it.
    """
    query, options = parse(definition["query"]), definition["options"]
    if unknown := options.keys() - KNOWN_OPTIONS:
        raise EvaluationError(f"options {sorted(unknown)} are not known")
    if isinstance(query, CheckQuery):
        return _of_checks(query, options, received, at_s)
    if query.window is None or query.comparison is None:
        raise EvaluationError(f"{query}: no monitor's query")
    return {
        group: _state(query, options, points, at_s)
        for group, points in series_of(query.expression, received, at_s).items()
        if at_s - min(points, default=at_s) >= options.get("new_group_delay", 0)
    }


def _state(query: MetricQuery, options: Mapping[str, Any], points: Points, at_s: float) -> str:
    assert query.window is not None
    assert query.comparison is not None
    since_s = at_s - query.window.seconds
    values = [value for start, value in points.items() if since_s <= start]
    if not values:
        return _missing(options["on_missing_data"])
    if options["require_full_window"] and not any(
        since_s <= start < since_s + FLUSH_S for start in points
    ):
        return OK  # not evaluated yet: nobody is told
    value = float(AGGREGATORS[query.window.aggregator](values))
    compare = COMPARATORS[query.comparison.comparator]
    if compare(value, query.comparison.threshold):
        return ALERT
    warning = options["thresholds"].get("warning")
    return WARN if warning is not None and compare(value, float(warning)) else OK


def _missing(on_missing_data: str) -> str:
    states = {"show_and_notify_no_data": NO_DATA, "show_no_data": OK, "resolve": OK}
    if on_missing_data not in states:
        raise EvaluationError(f"on_missing_data {on_missing_data} is not known")
    return states[on_missing_data]


def series_of(expression: Expression, received: Received, at_s: float) -> dict[Group, Points]:
    """Return the points of each group, up to the last ten seconds that are over at ``at_s``."""
    if isinstance(expression, Selection):
        return _selected(expression, received, at_s)
    if isinstance(expression, Number):
        raise EvaluationError("a constant alone has no series")
    return _combined(expression, received, at_s)


def _selected(selection: Selection, received: Received, at_s: float) -> dict[Group, Points]:
    for call in selection.calls:
        if call.name not in ("as_count", "as_rate"):
            raise EvaluationError(f"{selection}: {call.name}() is not known")
    if any(item.startswith("$") for item in selection.scope):
        raise EvaluationError(f"{selection}: a template variable has no value here")
    factor = FLUSH_S if _counts(selection) else 1  # the Agent sends rates per second
    together: dict[Group, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for series in received.series:
        if series.metric == selection.metric and series.tags >= set(selection.scope):
            group = _group(series.tags, selection.by)
            for start, value in series.points.items():
                if start + FLUSH_S <= at_s:
                    together[group][start].append(value * factor)
    aggregate = AGGREGATORS[selection.aggregator]
    return {
        group: {start: float(aggregate(values)) for start, values in points.items()}
        for group, points in together.items()
    }


def _counts(selection: Selection) -> bool:
    return "as_count" in [call.name for call in selection.calls]


def _group(tags: frozenset[str], keys: tuple[str, ...]) -> Group:
    """Return the group that a series belongs to; without a tag it is in the group N/A of it."""
    values = dict(tag.split(":", 1) for tag in sorted(tags, reverse=True))
    return tuple(values.get(key, "N/A") for key in keys)


def _combined(operation: Operation, received: Received, at_s: float) -> dict[Group, Points]:
    if any(map(_counts, selections(operation))):
        raise EvaluationError(f"{operation}: Datadog adds counts up before it divides them")
    operator = OPERATORS[operation.operator]
    if isinstance(operation.right, Number):
        constant = operation.right.value
        left = series_of(operation.left, received, at_s)
        return {
            group: {start: operator(value, constant) for start, value in points.items()}
            for group, points in left.items()
        }
    left, right = (series_of(it, received, at_s) for it in (operation.left, operation.right))
    return {
        group: {
            start: operator(value, right[group][start])
            for start, value in points.items()
            if start in right[group] and (operation.operator != "/" or right[group][start])
        }
        for group, points in left.items()
        if group in right
    }


def _of_checks(
    query: CheckQuery, options: Mapping[str, Any], received: Received, at_s: float
) -> dict[Group, str]:
    by_group: dict[Group, list[Status]] = defaultdict(list)
    for status in received.statuses:
        if status.name == query.name and status.tags >= set(query.over) and status.at_s <= at_s:
            by_group[_group(status.tags, query.by)].append(status)
    return {group: _check_state(query, options, its, at_s) for group, its in by_group.items()}


def _check_state(
    query: CheckQuery, options: Mapping[str, Any], statuses: list[Status], at_s: float
) -> str:
    if options["notify_no_data"] and at_s - statuses[-1].at_s > 60 * options["no_data_timeframe"]:
        return NO_DATA
    failed = sum(status.status == CRITICAL for status in statuses[-query.last :])
    return ALERT if failed >= options["thresholds"]["critical"] else OK
