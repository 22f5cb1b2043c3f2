"""The README's table of worker classes and monitors, against the pushes of each class."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.datadog.files import FOLDER, MONITORS, query_of
from tests.datadog.made import recorded
from tests.datadog.queries import metric_of
from tests.datadog.query import CheckQuery
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import pushes
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    AIOHTTP_ASYNCIO,
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

CASES = {
    "sync": SYNC,
    "gthread": GTHREAD,
    "gevent": GEVENT,
    "gevent_pywsgi": PYWSGI,
    "eventlet": EVENTLET,
    "asgi": ASGI_OWN,
    "uvicorn": UVICORN,
    "aiohttp": AIOHTTP_ASYNCIO,
    "tornado": TORNADO_WSGI,
}
HEAD, *ROWS = re.findall(
    r"^\| (monitor|[A-Za-z ]+?) \|((?: [^|]+ \|){4})$", (FOLDER / "README.md").read_text(), re.M
)
NAMES = {monitor["title"]: name for name, monitor in MONITORS.items()}


def table() -> dict[str, dict[str, str]]:
    """Return the README's cells by class and monitor."""
    columns = [re.findall(r"`(\w+)`", cell) for cell in HEAD[1].split("|")[:-1]]
    return {
        each: {NAMES[title]: row.split("|")[number].strip() for title, row in ROWS}
        for number, column in enumerate(columns)
        for each in column
    }


def metrics_of(monitor: str) -> set[str]:
    """Return the metrics of a monitor's query."""
    query = query_of(monitor)
    if isinstance(query, CheckQuery):
        return {query.name}
    return {metric_of(selection.metric)[0].name for selection in query.selections()}


def test_the_table_has_each_class_and_monitor() -> None:
    """Each of 14 rows has a cell for each class."""
    assert table().keys() == CASES.keys()
    assert all(row.keys() == MONITORS.keys() for row in table().values())


@pytest.mark.parametrize("name", CASES)
def test_a_class_has_the_metrics_of_its_monitors(
    name: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """A monitor applies to a class if the class pushes all metrics of the query."""
    case: WorkerClass = CASES[name]
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    gunicorn = installed(case.versions[-1])
    server = serve(gunicorn, app=case.app, arguments=case.arguments, environ=environ)
    server.wait_until_it_serves()
    applies = {
        monitor: metrics_of(monitor) for monitor, cell in table()[name].items() if cell == "yes"
    }

    def sent() -> set[str]:
        return {line.name for push in pushes(agent)[-1:] for line in push.lines}

    wait_for("all metrics", lambda: sent() >= set().union(*applies.values()))
    found = {monitor for monitor in MONITORS if metrics_of(monitor) <= sent()}
    assert found == applies.keys()


def test_the_cells_with_a_condition() -> None:
    """With a pool in use, and with reuse_port, the metrics are there."""
    for phase, cell in (("full_pool", "pool"), ("lost", "`reuse_port`")):
        sent = {line.name for line in recorded(phase).pushes[-2][1]}
        under = {monitor for row in table().values() for monitor in row if row[monitor] == cell}
        assert under
        assert all(metrics_of(monitor) <= sent for monitor in under)
