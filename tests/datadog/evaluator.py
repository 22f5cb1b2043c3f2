"""A monitor's state at a time, by its own query, thresholds and options.

The evaluator supports what our monitors use, and refuses anything else (EvaluationError):
https://docs.datadoghq.com/monitors/types/metric/
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tests.datadog.agent_flush import FLUSH_S, Received, Status
from tests.datadog.grammar import parse
from tests.datadog.query import (
    CheckQuery,
    Comparator,
    Expression,
    MetricQuery,
    Selection,
    fills_gaps,
    selections,
)
from tests.datadog.series import (
    AGGREGATORS,
    EvaluationError,
    Group,
    Points,
    Span,
    at_zero,
    group_of,
    series_of,
)

__all__ = ["ALERT", "NO_DATA", "OK", "WARN", "EvaluationError", "evaluate"]

OK, WARN, ALERT, NO_DATA = "OK", "Warn", "Alert", "No Data"
CRITICAL = 2  # of a service check

COMPARATORS: dict[Comparator, Callable[[float, float], bool]] = {
    ">": float.__gt__,
    ">=": float.__ge__,
    "<": float.__lt__,
    "<=": float.__le__,
}
KNOWN_OPTIONS = frozenset(
    {
        *("thresholds", "on_missing_data", "require_full_window", "new_group_delay"),
        *("notify_no_data", "no_data_timeframe"),
        *("renotify_interval", "include_tags", "notify_audit"),  # of no effect on the state
    }
)


def evaluate(definition: Mapping[str, Any], received: Received, at_s: float) -> dict[Group, str]:
    """Return the state of each group of a monitor that ever had data.

    :param definition: a monitor in the form of Datadog's API.
    """
    query, options = parse(definition["query"]), definition["options"]
    if unknown := options.keys() - KNOWN_OPTIONS:
        raise EvaluationError(f"options {sorted(unknown)} are not known")
    if isinstance(query, CheckQuery):
        return _of_checks(query, options, received, at_s)
    if query.window is None or query.comparison is None:
        raise EvaluationError(f"{query}: no monitor's query")
    span = Span(at_s - query.window.seconds, at_s)
    points = series_of(query.expression, received, span)
    return {
        group: _state(query, options, points.get(group, {}), span)
        for group, first_s in _first_heard(query.expression, received, at_s).items()
        if at_s - first_s >= options.get("new_group_delay", 0)
    }


def _first_heard(expression: Expression, received: Received, at_s: float) -> dict[Group, int]:
    """Return the time of the first points of all selections of an expression, by group."""
    plain = [replace(selection, calls=()) for selection in selections(expression)]
    firsts = [_first_points(selection, received) for selection in plain]
    groups = [group for group in firsts[0] if all(group in first for first in firsts)]
    known = {group: max(first[group] for first in firsts) for group in groups}
    return {group: first_s for group, first_s in known.items() if first_s + FLUSH_S <= at_s}


def _first_points(selection: Selection, received: Received) -> dict[Group, int]:
    """Return the time of the first point of each group; each selection is evaluated once."""
    if selection not in received.first_points:
        by_group = series_of(selection, received, Span(0, math.inf))
        firsts = {group: min(points) for group, points in by_group.items() if points}
        received.first_points[selection] = firsts
    return received.first_points[selection]


def _state(query: MetricQuery, options: Mapping[str, Any], points: Points, span: Span) -> str:
    assert query.window is not None
    if not points:
        return _missing(query, options)
    # A window is full if its begin has points.
    if options["require_full_window"] and min(points) >= span.since_s + FLUSH_S:
        return OK  # not evaluated yet: no notification
    return _compared(query, options, AGGREGATORS[query.window.aggregator](list(points.values())))


def _compared(query: MetricQuery, options: Mapping[str, Any], value: float) -> str:
    assert query.comparison is not None
    value, compare = float(value), COMPARATORS[query.comparison.comparator]
    if compare(value, query.comparison.threshold):
        return ALERT
    warning = options["thresholds"].get("warning")
    return WARN if warning is not None and compare(value, float(warning)) else OK


def _missing(query: MetricQuery, options: Mapping[str, Any]) -> str:
    """Return the state of a window without points; with ``default_zero`` that of zero."""
    handling, filled = options["on_missing_data"], fills_gaps(query.expression)
    if filled and handling == "default":
        return _compared(query, options, at_zero(query.expression))
    states = {"show_and_notify_no_data": NO_DATA, "show_no_data": OK, "resolve": OK}
    if filled or handling not in states:
        raise EvaluationError(f"on_missing_data {handling} is not known for {query}")
    return states[handling]


def _of_checks(
    query: CheckQuery, options: Mapping[str, Any], received: Received, at_s: float
) -> dict[Group, str]:
    by_group: dict[Group, list[Status]] = defaultdict(list)
    for status in received.statuses:
        group = group_of(status.tags, query.by)
        if status.name != query.name or status.at_s > at_s or group is None:
            continue
        if status.tags >= set(query.over):
            by_group[group].append(status)
    return {group: _check_state(query, options, its, at_s) for group, its in by_group.items()}


def _check_state(
    query: CheckQuery, options: Mapping[str, Any], statuses: list[Status], at_s: float
) -> str:
    if options["notify_no_data"] and at_s - statuses[-1].at_s > 60 * options["no_data_timeframe"]:
        return NO_DATA
    thresholds = options["thresholds"]
    needed = {True: int(thresholds["critical"]), False: int(thresholds.get("ok", 1))}
    if query.last < max(needed.values()):
        raise EvaluationError(f"{query}: no threshold of {max(needed.values())} is ever reached")
    state, failing, run = OK, False, 0
    for status in statuses:  # a number of equal results in succession changes the state
        failed = status.status == CRITICAL
        failing, run = failed, run + 1 if failed == failing else 1
        if run >= needed[failing]:
            state = ALERT if failing else OK
    return state
