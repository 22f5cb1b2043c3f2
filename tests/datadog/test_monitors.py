"""The monitors' files: layout, queries, validation by Datadog's own models, README."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gunicorn_backlog.metrics.catalog import CATALOG
from tests.datadog.files import FOLDER, MONITORS, every_monitor, query_of
from tests.datadog.grammar import parse
from tests.datadog.models import Monitor, complaints
from tests.datadog.queries import check
from tests.datadog.query import CheckQuery, MetricQuery, fills_gaps
from tests.datadog.standin_options import options_refused

# The fields of Datadog's recommended monitors, version 2.
LAYOUT = [
    *("version", "created_at", "last_updated_at", "title", "description", "tags", "definition")
]
LONGEST_TITLE, LONGEST_DESCRIPTION = 60, 300

README = (FOLDER / "README.md").read_text()


@every_monitor
def test_datadogs_models_know_every_field_and_value(name: str) -> None:
    """No field is unknown, missing, unparsed or of another type."""
    assert complaints(Monitor, MONITORS[name]["definition"]) == []


@every_monitor
def test_the_layout_is_that_of_recommended_monitors(name: str) -> None:
    """Fields and their order are those of the catalog, and texts have its allowed length."""
    monitor = MONITORS[name]
    assert list(monitor) == LAYOUT
    assert monitor["version"] == 2
    assert date.fromisoformat(monitor["created_at"]) <= date.fromisoformat(
        monitor["last_updated_at"]
    )
    assert 0 < len(monitor["title"]) <= LONGEST_TITLE
    assert 0 < len(monitor["description"]) <= LONGEST_DESCRIPTION
    assert list(monitor["definition"]) == ["name", "type", "query", "message", "tags", "options"]


@every_monitor
def test_its_query_asks_for_what_is_sent(name: str) -> None:
    """The query is in our subset, in normal form, and fits the catalog."""
    query = query_of(name)
    check(query)
    assert str(query) == MONITORS[name]["definition"]["query"]
    kind = "service check" if isinstance(query, CheckQuery) else "query alert"
    assert MONITORS[name]["definition"]["type"] == kind


@every_monitor
def test_its_thresholds_are_those_of_its_query(name: str) -> None:
    """The query repeats the critical threshold; a warning precedes it; a check's window fits."""
    query, thresholds = query_of(name), MONITORS[name]["definition"]["options"]["thresholds"]
    if isinstance(query, MetricQuery):
        assert query.comparison is not None
        assert thresholds["critical"] == query.comparison.threshold
        warning = thresholds.get("warning", -1)
        assert warning < thresholds["critical"]
    else:
        assert max(thresholds.values()) <= query.last


@every_monitor
def test_missing_data_is_handled_in_one_way(name: str) -> None:
    """The API accepts ``on_missing_data`` for metrics only, and not beside ``notify_no_data``.

    Beside ``default_zero`` the API accepts ``default`` only.
    """
    options, query = MONITORS[name]["definition"]["options"], query_of(name)
    by_metric = isinstance(query, MetricQuery)
    assert options_refused(MONITORS[name]["definition"]) == []
    assert ("on_missing_data" in options) == by_metric
    assert ("notify_no_data" in options) == (not by_metric)
    if isinstance(query, MetricQuery):
        assert (options["on_missing_data"] == "default") == fills_gaps(query.expression)


def test_one_monitor_tells_of_silence_by_a_gauge() -> None:
    """A gauge detects silence: the Agent repeats zeros for five minutes after a count."""
    loud = {
        name
        for name, monitor in MONITORS.items()
        if monitor["definition"]["options"].get("on_missing_data") == "show_and_notify_no_data"
    }
    assert loud == {"no_data"}
    query = query_of("no_data")
    assert isinstance(query, MetricQuery)
    types = {metric.name: metric.type for metric in CATALOG}
    assert [types[selection.metric] for selection in query.selections()] == ["gauge"]


@pytest.mark.parametrize("folder", [FOLDER, FOLDER.parents[1]])
def test_the_readmes_query_asks_for_what_is_sent(folder: Path) -> None:
    """The README's first monitor, and that for reuse_port, fit the catalog."""
    readme = (folder / "README.md").read_text()
    shown = re.findall(r"^ *((?:avg|min|max|sum)\(last_.*)$", readme, re.MULTILINE)
    assert shown
    for text in shown:
        check(parse(text))


def test_the_readme_tells_of_each_monitor() -> None:
    """The README lists each monitor with its thresholds."""
    rows = re.findall(r"^\| \[.*\]\(monitors/(.*)\.json\) \| (.*) \| (.*)\|$", README, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(MONITORS)
    for name, fires, warns in rows:
        thresholds = MONITORS[name]["definition"]["options"]["thresholds"]
        if thresholds["critical"] > 1:
            assert re.search(rf"\b{thresholds['critical']:g}\b", fires), name
            warning = thresholds.get("warning")
            assert warns.startswith(f"{warning:g} " if warning else ""), name
            assert bool(warns) == bool(warning), name


def test_each_has_a_tag_of_its_own() -> None:
    """The tag identifies the monitor, whatever its name is."""
    tags = [monitor["definition"]["tags"] for monitor in MONITORS.values()]
    own = [tag for its in tags for tag in its if tag.startswith("gunicorn_backlog:")]
    assert len(set(own)) == len(own) == len(MONITORS)
    assert all("managed_by:gunicorn_backlog" in its for its in tags)


def _set(*path: str, to: object) -> Callable[[dict[str, Any]], None]:
    def plant(definition: dict[str, Any]) -> None:
        for name in path[:-1]:
            definition = definition[name]
        definition[path[-1]] = to

    return plant


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        (_set("colour", to="red"), "/colour: unknown field"),
        (_set("options", "notify_nodata", to=True), "/options/notify_nodata: unknown field"),
        (_set("options", "thresholds", "crit", to=1), "/options/thresholds/crit: unknown field"),
        (_set("type", to="metrics alert"), "/type: 'metrics alert' is none of"),
        (_set("options", "on_missing_data", to="notify"), "/options/on_missing_data: 'notify'"),
        (
            _set("options", "thresholds", "critical", to="90"),
            "Invalid type for variable 'critical'",
        ),
        (_set("tags", to="a:b"), "Invalid type for variable 'tags'"),
        (lambda definition: definition.pop("query"), "required positional argument: 'query'"),
    ],
)
def test_a_planted_error_is_found(
    plant: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    """An unknown field at any depth or value, a wrong type and a missing field are found."""
    definition = copy.deepcopy(MONITORS["saturated_workers"]["definition"])
    plant(definition)
    (found,) = complaints(Monitor, definition)
    assert complaint in found
