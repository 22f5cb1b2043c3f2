"""The monitors' messages: branches, variables, parts, and the metrics that they name."""

from __future__ import annotations

import re

import pytest

from tests.datadog.files import MONITORS, every_monitor, query_of
from tests.datadog.queries import QueryError, metric_of
from tests.datadog.query import CheckQuery, Query

VARIABLE = re.compile(r"\{\{([^}]*)\}\}")
BRANCHES = {"is_alert", "is_warning", "is_recovery", "is_no_data"}
PARTS = ("**Why it matters**", "**What to look at**", "**What to change**")


def keys_of(query: Query) -> tuple[str, ...]:
    """Return the tags by which a monitor's query is grouped."""
    return query.by if isinstance(query, CheckQuery) else next(query.selections()).by


@every_monitor
def test_its_message_has_its_branches_and_parts(name: str) -> None:
    """Each state has a branch; the parts are the reason, the checks and the remedy.

    Where silence counts as zero the state "no data" does not exist.
    """
    definition = MONITORS[name]["definition"]
    found = complaints_of_template(definition["message"], keys_of(query_of(name)))
    assert found == []
    branches = set(re.findall(r"\{\{#(\w+)\}\}", definition["message"]))
    needed = {"is_alert", "is_recovery"}
    if definition["options"].get("on_missing_data") != "default":
        needed |= {"is_no_data"}
    if "warning" in definition["options"]["thresholds"] and definition["type"] == "query alert":
        needed |= {"is_warning"}
    assert branches == needed
    places = [definition["message"].index(part) for part in PARTS]
    assert places == sorted(places)


def complaints_of_template(message: str, keys: tuple[str, ...]) -> list[str]:
    """Return a message's defects: crossing branches, and variables without a value."""
    allowed = {"value", "threshold", "warn_threshold"} | {f"{key}.name" for key in keys}
    wrong, opened = [], ""
    for inner in VARIABLE.findall(message):
        if inner[0] in "#^":
            if opened or inner[1:] not in BRANCHES:
                wrong.append(f"{inner} in {opened or 'no branch'}")
            opened = inner[1:]
        elif inner[0] == "/":
            if inner[1:] != opened:
                wrong.append(f"{inner} ends {opened or 'no branch'}")
            opened = ""
        elif inner not in allowed:
            wrong.append(f"{inner} has no value")
    return wrong + ([f"{opened} does not end"] if opened else [])


@every_monitor
def test_the_metrics_that_its_message_names_exist(name: str) -> None:
    """The named metrics, and the series that the Agent derives, exist."""
    for found in re.findall(r"`(gunicorn\.[a-z_0-9.]+)`", MONITORS[name]["definition"]["message"]):
        if not found.endswith(".py"):
            metric_of(found)  # raises for an unknown metric


def test_a_name_that_nobody_sends_is_found() -> None:
    """A metric without a histogram's suffixes has no .max."""
    for name in ("gunicorn.workers.max", "gunicorn.backlog.min", "gunicorn.backlogs"):
        with pytest.raises(QueryError):
            metric_of(name)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("{{#is_alert}}{{value}}{{/is_alert}} {{app.name}}", []),
        ("{{#is_alert}}", ["is_alert does not end"]),
        ("{{#is_alert}}{{/is_warning}}", ["/is_warning ends is_alert"]),
        ("{{#is_alert}}{{#is_recovery}}{{/is_recovery}}", ["#is_recovery in is_alert"]),
        ("{{#is_alarm}}{{/is_alarm}}", ["#is_alarm in no branch"]),
        ("{{host.name}}", ["host.name has no value"]),
    ],
)
def test_an_error_in_a_message_is_found(message: str, wrong: list[str]) -> None:
    """An open branch, a nested one, and a tag outside of the query's groups are found."""
    assert complaints_of_template(message, ("app",)) == wrong
