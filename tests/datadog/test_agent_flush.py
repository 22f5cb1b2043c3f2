"""The Agent's aggregation of pushes, type by type, computed by hand."""

from __future__ import annotations

import pytest
from agent import Line, parse_line

from tests.datadog.agent_flush import Status, flush, histogram


def points(pushes: list[tuple[float, str]], until_s: float) -> dict[str, dict[int, float]]:
    """Flush lines that arrive at these times; return each metric's points."""
    received = flush([(at_s, [parse_line(text)]) for at_s, text in pushes], until_s)
    return {series.metric: dict(series.points) for series in received.series}


def test_a_gauge_keeps_its_last_value() -> None:
    """Ten seconds without a value have no point, and incomplete ones are not sent."""
    pushes = [(0.0, "a:1|g"), (9.9, "a:2|g"), (10.0, "a:3|g"), (40.0, "a:4|g")]
    assert points(pushes, 49) == {"a": {0: 2, 10: 3}}
    assert points(pushes, 50) == {"a": {0: 2, 10: 3, 40: 4}}


def test_a_count_becomes_a_rate_and_goes_on_as_zero() -> None:
    """Zeros follow for 300 s at most, also between two counts."""
    pushes = [(1.0, "a:3|c"), (2.0, "a:4|c"), (31.0, "a:10|c")]
    assert points(pushes, 60) == {"a": {0: 0.7, 10: 0, 20: 0, 30: 1, 40: 0, 50: 0}}
    assert max(points(pushes, 900)["a"]) == 330


def test_a_histogram_becomes_five_series() -> None:
    """All values of ten seconds count, including those of packed lines."""
    made = points([(0.0, "a:1:2:3|h"), (5.0, "a:10|h")], 10)
    assert made == {
        "a.avg": {0: 4},
        "a.max": {0: 10},
        "a.median": {0: 2},
        "a.95percentile": {0: 10},
        "a.count": {0: 0.4},
    }
    assert histogram(range(1, 101))[".95percentile"] == 95
    assert histogram(range(1, 101))[".median"] == 50
    assert histogram([7])[".95percentile"] == 7


def test_tags_part_series_and_the_agent_adds_its_host() -> None:
    """Each set of tags is its own series."""
    lines = [Line("a", "g", (value,), frozenset({f"x:{value}"})) for value in (1.0, 2.0)]
    received = flush([(0.0, lines)], 10)
    assert {series.tags: dict(series.points) for series in received.series} == {
        frozenset({"x:1.0", "host:lab"}): {0: 1.0},
        frozenset({"x:2.0", "host:lab"}): {0: 2.0},
    }


def test_a_service_check_is_passed_on() -> None:
    """Each result is forwarded with its own time."""
    lines = [parse_line("_sc|a|0|#x:1"), parse_line("_sc|a|2|#x:1")]
    received = flush([(3.0, lines[:1]), (4.5, lines[1:])], 10)
    tags = frozenset({"x:1", "host:lab"})
    assert received.statuses == (Status("a", tags, 3.0, 0), Status("a", tags, 4.5, 2))


def test_another_type_is_refused() -> None:
    """A distribution is refused, because Datadog aggregates it, not the Agent."""
    with pytest.raises(ValueError, match="of type d: only g, c, h"):
        points([(0.0, "a:1|d")], 10)
