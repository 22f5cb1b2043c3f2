"""The evaluator of monitors, on synthetic series."""

from __future__ import annotations

from typing import Any

import pytest

from tests.datadog.agent_flush import Received, Series
from tests.datadog.evaluating import NUMBERS, A, B, received, state
from tests.datadog.evaluator import ALERT, OK, WARN, EvaluationError, evaluate


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("max(last_5m):avg:x{*} > 28", ALERT),
        ("max(last_5m):avg:x{*} > 29", OK),
        ("max(last_5m):avg:x{*} >= 29", ALERT),
        ("min(last_5m):avg:x{*} < 1", ALERT),
        ("min(last_5m):avg:x{*} <= 0", ALERT),
        ("min(last_5m):avg:x{*} < 0", OK),
        ("min(last_1m):avg:x{*} < 24", OK),
        ("min(last_1m):avg:x{*} < 25", ALERT),
        ("avg(last_5m):avg:x{*} > 14.4", ALERT),
        ("avg(last_5m):avg:x{*} > 14.5", OK),
        ("sum(last_1m):sum:x{*}.as_count() > 1589", ALERT),  # (24 + ... + 29) * 10 s = 1590
        ("sum(last_1m):sum:x{*}.as_count() > 1590", OK),
        ("max(last_5m):avg:x{*} * 2 > 57", ALERT),
        ("max(last_5m):avg:x{*} / avg:x{*} * 100 > 100", OK),
        ("max(last_5m):avg:x{*} - avg:x{*} + 1 > 0.5", ALERT),
        ("max(last_5m):avg:x{app:a} by {app} > 28", ALERT),
        ("min(last_5m):avg:x{*}.rollup(max, 60) < 6", ALERT),  # 5, 11, 17, 23, 29
        ("min(last_5m):avg:x{*}.rollup(max, 60) < 5", OK),
        ("avg(last_5m):avg:x{*}.rollup(max, 60) > 16", ALERT),  # 17
        ("avg(last_5m):avg:x{*}.rollup(max, 60) > 17", OK),
        ("max(last_5m):avg:x{!app:b*} > 28", ALERT),
    ],
)
def test_a_condition_holds_or_not(condition: str, expected: str) -> None:
    """Each function of our queries is right for a series of 0 to 29."""
    assert state(condition, received(x=NUMBERS)) == expected


def test_hosts_are_taken_together_point_by_point() -> None:
    """The query's aggregator combines hosts at each time, in each group."""
    got = Received((Series("x", A, {0: 1.0, 10: 5.0}), Series("x", B, {0: 3.0})), (), 20)
    for aggregator, lowest in (("avg", 2), ("min", 1), ("max", 3), ("sum", 4)):
        query = f"min(last_5m):{aggregator}:x{{*}} by {{app}} <= {lowest}"
        assert state(query, got, 20) == ALERT
        assert state(query.replace("<=", "<"), got, 20) == OK
    definition = {
        "query": "max(last_5m):max:x{*} by {host,app} > 4",
        "options": {"thresholds": {}, "on_missing_data": "resolve", "require_full_window": False},
    }
    assert evaluate(definition, got, 20) == {("1", "a"): ALERT, ("2", "a"): OK}


def test_a_rollup_comes_before_hosts_are_taken_together() -> None:
    """The result has each host's maximum, even at different times."""
    got = Received((Series("x", A, {0: 8.0, 10: 0.0}), Series("x", B, {0: 0.0, 10: 6.0})), (), 20)
    assert state("max(last_5m):avg:x{*}.rollup(max, 60) >= 7", got, 20) == ALERT
    assert state("max(last_5m):avg:x{*} >= 7", got, 20) == OK


def test_a_rollups_intervals_begin_at_multiples_of_their_length() -> None:
    """The first and the last interval of a window may be cut."""
    got = received(x={0: 9.0, 30: 1.0, 60: 2.0, 90: 3.0})
    assert state("avg(last_1m):avg:x{*}.rollup(max, 60) > 1.9", got, 90) == OK  # 1 and 2
    assert state("avg(last_1m):avg:x{*}.rollup(max, 60) >= 1.5", got, 90) == ALERT
    assert state("avg(last_2m):avg:x{*}.rollup(max, 60) >= 6", got, 100) == ALERT  # 9 and 3


def test_series_with_a_tag_that_is_left_out() -> None:
    """An excluded tag may have a star for any text, also none."""
    got = Received((Series("x", frozenset({"app:a.2"}), {0: 5.0}), Series("x", A, {0: 1.0})), (), 9)
    query = "max(last_5m):max:x{%s} by {app} > 0"
    usual = {"thresholds": {}, "on_missing_data": "resolve", "require_full_window": False}

    def groups(scope: str) -> set[tuple[str, ...]]:
        return {*evaluate({"query": query % scope, "options": usual}, got, 10)}

    assert groups("*") == {("a.2",), ("a",)}
    assert groups("!app:*.2") == {("a",)}
    assert groups("!app:a*") == set()
    assert groups("!app:b") == groups("*")


def test_a_warning_comes_first() -> None:
    """Between both thresholds the state is Warn."""
    for value, expected in ((79, OK), (80, OK), (81, WARN), (90, WARN), (91, ALERT)):
        got = received(x={0: float(value)})
        query = "avg(last_5m):avg:x{*} > 90"
        assert state(query, got, 10, thresholds={"critical": 90, "warning": 80}) == expected


def test_nobody_is_told_before_the_window_is_full() -> None:
    """With require_full_window; without that option one point is enough."""
    got = received(x={60 + at_s: 9.0 for at_s in range(0, 400, 10)})
    query = "min(last_5m):avg:x{*} > 0"
    assert state(query, got, 350, require_full_window=True) == OK
    assert state(query, got, 350) == ALERT
    assert state(query, got, 360, require_full_window=True) == ALERT


def test_a_new_group_is_left_in_peace_for_a_while() -> None:
    """A new group is not evaluated before its delay is over."""
    got = received(x={0: 9.0, 10: 9.0})
    definition = {
        "query": "max(last_5m):avg:x{*} > 1",
        "options": {
            **{"thresholds": {}, "on_missing_data": "resolve", "require_full_window": False},
            "new_group_delay": 60,
        },
    }
    assert evaluate(definition, got, 59) == {}
    assert evaluate(definition, got, 60) == {(): ALERT}


def test_nothing_is_divided_by_zero() -> None:
    """Division by zero yields no point, nor does a missing operand."""
    got = received(x={0: 1.0, 10: 1.0, 20: 1.0}, y={0: 0.0, 10: 4.0})
    query = "min(last_5m):avg:x{*} / avg:y{*} < 1"
    assert state(query, got, 30) == ALERT
    assert state(query.replace("< 1", "< 0.25"), got, 30) == OK


@pytest.mark.parametrize(
    ("query", "options", "said"),
    [
        ("avg:x{*}", {}, "no monitor's query"),
        ("avg(last_5m):avg:x{*}.as_count().rollup(sum, 60) > 1", {}, "rollup() is not known here"),
        ("avg(last_5m):avg:x{$app} > 1", {}, "a template variable has no value here"),
        ("avg(last_5m):1 > 1", {}, "a constant alone has no series"),
        ("avg(last_5m):avg:x{*}.as_count() / avg:x{*} > 1", {}, "Datadog adds counts up before"),
        ("avg(last_5m):avg:x{*} > 1", {"evaluation_delay": 60}, "['evaluation_delay'] are not"),
        ("avg(last_1m):avg:x{*} > 1", {"on_missing_data": "default"}, "default is not known"),
    ],
)
def test_what_it_does_not_know_is_refused(query: str, options: dict[str, Any], said: str) -> None:
    """Unknown options and functions raise EvaluationError."""
    with pytest.raises(EvaluationError) as caught:
        state(query, received(x={0: 1.0}), 300, **options)
    assert said in str(caught.value)
