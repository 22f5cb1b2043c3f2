"""The dashboard: Datadog's own models, its queries, its variables and its layout."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gunicorn_backlog.metrics.catalog import CATALOG
from tests.datadog.files import DASHBOARD
from tests.datadog.grammar import parse
from tests.datadog.models import Dashboard, complaints
from tests.datadog.queries import check, metric_of
from tests.datadog.query import MetricQuery

COLUMNS = 12  # of a dashboard
STORY = ("waiting", "long", "busy", "short", "lost", "exited")
VARIABLES = ("service", "env", "app", "bind", "listener")


def widgets(inside: dict[str, Any] = DASHBOARD) -> Iterator[dict[str, Any]]:
    """Return all definitions of widgets, including those in groups."""
    for widget in inside["widgets"]:
        yield widget["definition"]
        if widget["definition"]["type"] == "group":
            yield from widgets(widget["definition"])


def requests() -> Iterator[dict[str, Any]]:
    """Return all requests of all widgets."""
    for widget in widgets():
        yield from widget.get("requests", [])


def queries() -> list[MetricQuery]:
    """Return all parsed queries."""
    parsed = [parse(query["query"]) for request in requests() for query in request["queries"]]
    return [query for query in parsed if isinstance(query, MetricQuery)]


def test_datadogs_models_know_every_field_and_value() -> None:
    """No field is unknown, missing, unparsed or of another type."""
    assert complaints(Dashboard, DASHBOARD) == []


def test_its_queries_ask_for_what_is_sent() -> None:
    """Each query is in our subset, has one metric and no condition, and fits the catalog."""
    texts = [query["query"] for request in requests() for query in request["queries"]]
    assert len(texts) > 20
    for text in texts:
        query = parse(text)
        check(query)
        assert isinstance(query, MetricQuery)
        assert str(query) == text
        assert query.comparison is None
        assert len(list(query.selections())) == 1


def test_its_queries_follow_the_template_variables() -> None:
    """Each query has all variables whose tag the metric has: no widget ignores a selection."""
    assert [variable["name"] for variable in DASHBOARD["template_variables"]] == [*VARIABLES]
    assert [variable["prefix"] for variable in DASHBOARD["template_variables"]] == [*VARIABLES]
    for query in queries():
        for selection in query.selections():
            metric, _ = metric_of(selection.metric)
            names = VARIABLES if "listener" in metric.tags else VARIABLES[:-1]
            chosen = tuple(item for item in selection.scope if item.startswith("$"))
            assert chosen == tuple(f"${name}" for name in names), selection
    (check_status,) = [widget for widget in widgets() if widget["type"] == "check_status"]
    assert check_status["tags"] == [f"${name}" for name in VARIABLES[:-1]]


def test_its_formulas_are_made_of_its_queries() -> None:
    """Formulas use each query of their request, and no other."""
    for request in requests():
        names = [query["name"] for query in request["queries"]]
        used = [
            name
            for formula in request["formulas"]
            for name in re.findall(r"[a-z_][a-z0-9_]*", formula["formula"])
        ]
        assert sorted(used) == sorted(names), request


def test_a_queue_is_divided_by_its_own_limit() -> None:
    """A ratio's queries have equal groups; a queue's groups are host and listener."""
    ratios = 0
    for request in requests():
        if not any("/" in formula["formula"] for formula in request["formulas"]):
            continue
        parsed = [parse(query["query"]) for query in request["queries"]]
        chosen = [next(query.selections()) for query in parsed if isinstance(query, MetricQuery)]
        (group,) = {selection.by for selection in chosen}
        if any("listener" in metric_of(selection.metric)[0].tags for selection in chosen):
            assert {*group} == {*VARIABLES, "host"} - {"bind"}
        ratios += 1
    assert ratios == 3


def test_every_metric_is_shown() -> None:
    """Each metric, and the service check, is on the dashboard."""
    shown = {
        metric_of(selection.metric)[0].name
        for query in queries()
        for selection in query.selections()
    }
    shown |= {widget["check"] for widget in widgets() if widget["type"] == "check_status"}
    assert shown == {metric.name for metric in CATALOG}


def test_it_tells_the_story_from_left_to_right() -> None:
    """One group per question, three in a row, without overlaps."""
    groups = DASHBOARD["widgets"]
    titles = [group["definition"]["title"] for group in groups]
    for number, (title, word) in enumerate(zip(titles, STORY, strict=True), start=1):
        assert title.startswith(f"{number} ")
        assert word in title
    corners = [(group["layout"]["y"] > 0, group["layout"]["x"]) for group in groups]
    assert corners == sorted(corners)
    for inside in (DASHBOARD, *(group["definition"] for group in groups)):
        check_layout([widget["layout"] for widget in inside["widgets"]])
    for group in groups:
        inner = group["definition"]["widgets"]
        assert all(widget["layout"]["width"] <= group["layout"]["width"] for widget in inner)


def check_layout(places: list[dict[str, int]]) -> None:
    """Assert that no two widgets overlap, and that none exceeds the right edge."""
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["width"])
        for y in range(place["y"], place["y"] + place["height"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < COLUMNS


def first_series(dashboard: dict[str, Any]) -> dict[str, Any]:
    """Return the first time series of a dashboard."""
    found: dict[str, Any] = next(
        widget for widget in widgets(dashboard) if widget["type"] == "timeseries"
    )
    return found


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        (lambda dashboard: dashboard.update(layout="ordered"), "/layout: unknown field"),
        (
            lambda dashboard: dashboard.update(layout_type="sorted"),
            "/layout_type: 'sorted' is none of",
        ),
        (lambda dashboard: dashboard.pop("title"), "required positional argument: 'title'"),
        (
            lambda dashboard: dashboard["template_variables"][0].update(tag="a"),
            "/template_variables/0/tag: unk",
        ),
        (lambda dashboard: first_series(dashboard).update(titel="x"), "/titel: unknown field"),
        (
            lambda dashboard: first_series(dashboard).update(type="timeserie"),
            "/definition: unparsed",
        ),
        (
            lambda dashboard: first_series(dashboard)["requests"][0].update(display_type="dots"),
            "/definition: unparsed",
        ),
        (
            lambda dashboard: first_series(dashboard)["requests"][0]["queries"][0].update(
                scope="x"
            ),
            "/queries/0/scope: unknown field",
        ),
        (
            lambda dashboard: first_series(dashboard)["requests"][0]["queries"][0].update(
                data_source="metric"
            ),
            "/definition: unparsed",
        ),
    ],
)
def test_a_planted_error_is_found(
    plant: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    """Unknown fields at any depth, values and widget types are found."""
    dashboard = copy.deepcopy(DASHBOARD)
    del dashboard["widgets"][1:]  # each group takes 0.06 s to check
    assert complaints(Dashboard, dashboard) == []
    plant(dashboard)
    assert complaint in "\n".join(complaints(Dashboard, dashboard))
