"""The evaluator of monitors with missing data or tags, and of service checks."""

from __future__ import annotations

import pytest

from tests.datadog.agent_flush import Received, Series, Status
from tests.datadog.evaluating import A, B, received, state
from tests.datadog.evaluator import ALERT, NO_DATA, OK, EvaluationError, evaluate


def test_zeros_fill_a_window_that_is_not_empty() -> None:
    """Datadog's default_zero has no effect on a window without points."""
    got = received(x={0: 6.0, 120: 0.0})
    assert state("avg(last_1m):default_zero(avg:x{*}) >= 1", got, 60) == ALERT  # 6 / 6
    assert state("avg(last_1m):default_zero(avg:x{*}) > 1", got, 60) == OK
    assert state("avg(last_1m):avg:x{*} > 5", got, 60) == ALERT
    assert state("avg(last_1m):default_zero(avg:x{*}) > 1", got, 180) == OK


def test_beside_default_zero_silence_is_zero() -> None:
    """Datadog accepts only this handling of missing data there, and only there."""
    got, filled = received(x={0: 6.0}), "avg(last_1m):default_zero(avg:x{*}) * 2"
    assert evaluated(f"{filled} > 1", got, 120, "default") == OK
    assert evaluated(f"{filled} < 1", got, 120, "default") == ALERT
    assert evaluated(f"{filled} + 3 > 2", got, 120, "default") == ALERT
    for told in ("show_no_data", "show_and_notify_no_data", "resolve"):
        with pytest.raises(EvaluationError, match=f"on_missing_data {told} is not known for"):
            evaluated(f"{filled} > 1", got, 120, told)
    with pytest.raises(EvaluationError, match="nothing fills it with zeros"):
        evaluated("avg(last_1m):default_zero(avg:x{*}) + avg:x{*} > 1", got, 120, "default")


def evaluated(query: str, got: Received, at_s: float, on_missing_data: str) -> str:
    """Return the state of the only group, with this handling of missing data."""
    return state(query, got, at_s, on_missing_data=on_missing_data)


def test_missing_data_is_what_the_monitor_says() -> None:
    """Only ``show_and_notify_no_data`` causes a notification."""
    query, got = "max(last_5m):avg:x{*} > 100", received(x={0: 1.0})
    assert state(query, got, 300) == OK
    assert state(query, got, 301, on_missing_data="show_and_notify_no_data") == NO_DATA
    for silent in ("show_no_data", "resolve"):
        assert state(query, got, 301, on_missing_data=silent) == OK


def test_what_lacks_a_tag_of_the_group_is_not_seen() -> None:
    """A series and a check's result without the tag are ignored; others count."""
    tagged = A | {"env:e"}
    series = (Series("x", tagged, {0: 1.0}), Series("x", B, {0: 9.0}))
    got = Received(series, (Status("c", tagged, 1.0, 0), Status("c", B, 1.0, 2)), 20)
    options = {"thresholds": {"critical": 1}, "on_missing_data": "resolve"} | {
        **{"require_full_window": False, "notify_no_data": False},
    }
    by_metric = {"query": "max(last_5m):max:x{*} by {env} > 4", "options": options}
    assert evaluate(by_metric, got, 20) == {("e",): OK}
    check = '"c".over("*").by("env").last(2).count_by_status()'
    assert evaluate({"query": check, "options": options}, got, 20) == {("e",): OK}


def test_a_service_check_by_its_last_results() -> None:
    """A number of results in succession alerts or resolves; 5 minutes of silence are no data."""
    results = [(1.0, 0), (2.0, 2), (3.0, 0), (4.0, 0)]
    got = Received((), tuple(Status("c", A, at_s, status) for at_s, status in results), 999)
    query = '"c".over("*").by("app","host").last(2).count_by_status()'
    silence = {"notify_no_data": True, "no_data_timeframe": 5}

    def check(thresholds: dict[str, int], at_s: float) -> str:
        options = {"thresholds": thresholds} | silence
        (found,) = evaluate({"query": query, "options": options}, got, at_s).values()
        return found

    expected = {1: OK, 2: ALERT, 3: OK, 4: OK, 303: OK, 305: NO_DATA}
    assert {at_s: check({"critical": 1, "ok": 1}, at_s) for at_s in expected} == expected
    assert [check({"critical": 1, "ok": 2}, at_s) for at_s in (2, 3, 4)] == [ALERT, ALERT, OK]
    assert [check({"critical": 2, "ok": 1}, at_s) for at_s in (2, 3, 4)] == [OK, OK, OK]
    with pytest.raises(EvaluationError, match="no threshold of 3 is ever reached"):
        check({"critical": 3}, 4)
