"""The setting ``metrics`` in every worker class, and the README's table of series per group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from agent import Line, StandInAgent

from gunicorn_backlog.config.options import GROUPS
from gunicorn_backlog.metrics.catalog import CATALOG
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.pushes import Push, pushes
from tests.lab.server import CONFIG
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    ASGI_OWN,
    EVENTLET,
    GEVENT,
    GTHREAD,
    PYWSGI,
    SYNC,
    TORNADO_WSGI,
    UVICORN,
    WorkerClass,
)

README = Path(__file__).parents[2] / "README.md"
GROUP_OF = {metric.name: metric.group for metric in CATALOG}
FIRST, SECOND = ("backlog", "threads", "wait"), ("workers", "requests", "loop")
CASES = (SYNC, GTHREAD, GEVENT, EVENTLET, PYWSGI, TORNADO_WSGI, ASGI_OWN, UVICORN)
# Series that Datadog makes of one line, by type: .avg, .max, .median, .95percentile and .count of
# a histogram; avg, count, max, min and sum of a distribution.
SERIES = {"h": 5, "d": 5}


def documented(worker_class: WorkerClass) -> dict[str, int]:
    """Return the series of each row of the README's table, in the column of a class."""
    text = README.read_text()
    table = text[text.index("| group | `sync`") :].partition("\n\n")[0]
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    name = worker_class.name.rpartition(".")[2]
    (column,) = [at for at, cell in enumerate(header) if f"`{name}`" in cell]
    return {row[0]: int(row[column]) for row in rows}


def counted(lines: Collection[Line]) -> Counter[str]:
    """Return the number of series of each group."""
    found: Counter[str] = Counter()
    for line in lines:
        if group := GROUP_OF[line.name]:
            found[group] += SERIES.get(line.type, 1)
    return found


def config(agent: StandInAgent, groups: Collection[str], backlog_type: str = "histogram") -> str:
    """Return a config that pushes these groups."""
    return (
        f"{CONFIG}from gunicorn_backlog import configure\n"
        f"configure(url={agent.url!r}, interval=0.1, samples=2, metrics={list(groups)!r}, "
        f"backlog_type={backlog_type!r})\n"
    )


def groups_of(push: Push) -> set[str]:
    """Return the groups of a push, without is_running."""
    return {group for line in push.lines if (group := GROUP_OF[line.name])}


def steady(agent: StandInAgent, groups: Collection[str], series: Counter[str]) -> Push:
    """Wait for a push of these groups with as many series, and return it."""

    def latest() -> Push | None:
        push = pushes(agent)[-1]
        wanted = {group: series[group] for group in groups if series[group]}
        return push if counted(push.lines) == wanted else None

    try:
        return wait_for("the series", latest)
    except AssertionError:
        found = counted(pushes(agent)[-1].lines)
        raise AssertionError(f"pushed: {found}; in README's table of series: {series}") from None


@pytest.mark.parametrize("worker_class", CASES, ids=lambda case: case.name.rpartition(".")[2])
def test_only_the_groups_of_the_setting(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Each class pushes the requested groups only, with as many series as documented.

    A reload changes the groups; is_running is always pushed.
    """
    rows = documented(worker_class)
    series: Counter[str] = Counter(
        {group: rows[f"`{group}`"] for group in GROUPS if f"`{group}`" in rows}
    )
    series["backlog"] = rows["`backlog` as histogram or distribution, per listener"]
    server = serve(
        installed(worker_class.versions[-1]),
        workers=1,
        config=config(agent, FIRST),
        arguments=worker_class.arguments,
        app=worker_class.app,
    )
    wait_for("a push", lambda: pushes(agent))
    assert "only the metrics backlog, threads, wait and is_running" in server.log
    for groups in (FIRST, SECOND):
        push = steady(agent, groups, series)
        assert push.all("gunicorn.is_running")
        assert {line.name for line in push.lines} <= {
            metric.name for metric in CATALOG if metric.group in (*groups, None)
        }
        if groups is FIRST:
            assert not any(groups_of(each) - set(FIRST) for each in pushes(agent))
            server.reload(config(agent, SECOND))
            wait_for("the other groups", lambda: groups_of(pushes(agent)[-1]) <= set(SECOND))


def test_the_series_of_each_type(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The backlog's series by type; without other groups only is_running comes beside them.

    Reloads change the type.
    """
    rows, first = documented(SYNC), "histogram"
    server = serve(newest, workers=1, config=config(agent, ["backlog"], first))
    wait_for("a push", lambda: pushes(agent))
    for backlog_type in (first, "distribution", "gauge"):
        kind = "gauge" if backlog_type == "gauge" else "histogram or distribution"
        series = Counter({"backlog": rows[f"`backlog` as {kind}, per listener"]})
        if backlog_type != first:
            server.reload(config(agent, ["backlog"], backlog_type))
        wait_for(backlog_type, lambda: types(pushes(agent)[-1]) == {backlog_type[0]})  # noqa: B023
        push = steady(agent, ["backlog"], series)
        assert types(push) == {backlog_type[0]}


def types(push: Push) -> set[str]:
    """Return the types of the backlog's lines."""
    return {line.type for line in push.all("gunicorn.backlog")}


@pytest.mark.parametrize("version", VERSIONS)
def test_no_group_at_all(
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """An empty list leaves the service check."""
    server = serve(installed(version), workers=1, config=config(agent, []))
    wait_for("a push", lambda: len(agent.datagrams) > 2)
    names = {line.name for datagram in agent.datagrams for line in datagram.lines}
    assert names == {"gunicorn.is_running"}
    assert "only is_running" in server.log
