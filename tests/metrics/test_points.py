"""Tests of the metric catalog and of an interval's points."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gunicorn_backlog.config.options import GROUPS, BacklogType, Group
from gunicorn_backlog.metrics.catalog import CATALOG, EXIT_REASONS
from gunicorn_backlog.metrics.points import Point, interval_points
from gunicorn_backlog.sampling.cpu import CpuUsage
from gunicorn_backlog.sampling.window import BacklogSummary, IntervalSummary
from gunicorn_backlog.sampling.worker_counts import ThreadCounts, WorkerCounts
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary

README = Path(__file__).parents[2] / "README.md"
BIND = "127.0.0.1:8000"
THREADS = {"anyio": ThreadCounts(1, 3, 9), "asgiref": ThreadCounts(None, 2, 0)}
COUNTS = WorkerCounts(1, 2, 0, 0, 2, threads=THREADS)
INTERVAL = IntervalSummary(
    (BacklogSummary("127.0.0.1:8000", (0, 5, 3), 128, 4),),
    {"127.0.0.1:8000": 7},
    COUNTS,
    4,
    utilization=62.5,
    saturated=0.0,
    waits=WaitSummary(250, 12.345, 530.5, 40.5),
    delays=WaitSummary(40, 1.26, 300.5, 2.0),
    begun=250,
    oldest_s=1.23456,
    stranded=2,
    exited=dict.fromkeys(EXIT_REASONS, 0) | {"asked": 2},
    lost={"127.0.0.1:8000": 3},
    busiest=97.5,
    timeout_used=51.2,
    cpu=CpuUsage(33.3, 66.6),
)


def by_name(found: list[Point], name: str) -> list[Point]:
    """Return the points of one metric."""
    return [point for point in found if point.name == name]


def test_every_metric_of_the_catalog_is_sent() -> None:
    """The points are those of the catalog, with type and tags, and no others."""
    found = interval_points(INTERVAL, app="web", bind=BIND, backlog_type="histogram")
    assert {(point.name, point.type) for point in found} == {(m.name, m.type) for m in CATALOG}
    for metric in CATALOG:
        keys = {tag.partition(":")[0] for tag in metric.tags} | {"app", "bind"}
        for point in by_name(found, metric.name):
            assert {tag.partition(":")[0] for tag in point.tags} == keys


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_alone(group: Group) -> None:
    """Of one group the points are those of the group, and the service check."""
    found = interval_points(
        INTERVAL, app="web", bind=BIND, backlog_type="histogram", groups=[group]
    )
    wanted = {metric.name for metric in CATALOG if metric.group in (group, None)}
    assert {point.name for point in found} == wanted
    assert len(wanted) > 1


@pytest.mark.parametrize(
    ("backlog_type", "values"),
    [("histogram", (0, 5, 3)), ("distribution", (0, 5, 3)), ("gauge", (5,))],
)
def test_types_of_the_backlog(backlog_type: BacklogType, values: tuple[int, ...]) -> None:
    """A gauge has the interval's maximum; the other types have every sample."""
    (point,) = by_name(
        interval_points(INTERVAL, app="web", bind=BIND, backlog_type=backlog_type),
        "gunicorn.backlog",
    )
    assert (point.type, point.values) == (backlog_type, values)


def test_without_states_the_total_is_sent() -> None:
    """Workers of unknown state are counted in total, without states and requests."""
    counts = WorkerCounts(idle=1, working=0, starting=0, unknown=2, in_flight=None)
    found = interval_points(
        IntervalSummary((), {}, counts, 0), app="web", bind=BIND, backlog_type="histogram"
    )
    assert by_name(found, "gunicorn.workers") == [
        Point("gunicorn.workers", "gauge", (3,), ("app:web", f"bind:{BIND}"))
    ]
    assert by_name(found, "gunicorn.requests.in_flight") == []


def test_threads_and_shares_of_the_interval() -> None:
    """Threads, shares and waits are sent as measured; without a capacity they are absent."""
    found = interval_points(INTERVAL, app="web", bind=BIND, backlog_type="histogram")
    sent = {" ".join((point.name, *point.tags[2:])): point.values[0] for point in found}
    assert {name: value for name, value in sent.items() if "pool:" in name} == {
        "gunicorn.threads state:idle pool:anyio": 1,
        "gunicorn.threads state:working pool:anyio": 3,
        "gunicorn.threads.queued pool:anyio": 9,
        "gunicorn.threads state:working pool:asgiref": 2,
        "gunicorn.threads.queued pool:asgiref": 0,
    }
    assert sent["gunicorn.workers.utilization"] == 62.5
    assert sent["gunicorn.workers.saturated"] == 0
    assert sent["gunicorn.workers.cpu"] == 33.3
    assert sent["gunicorn.workers.cpu_wait"] == 66.6

    assert sent["gunicorn.workers.busiest"] == 97.5
    assert sent["gunicorn.workers.timeout_used"] == 51.2
    assert sent["gunicorn.workers.exited reason:asked"] == 2
    assert sent["gunicorn.workers.exited reason:oom"] == 0

    assert sent["gunicorn.request.wait.avg"] == 12.3
    assert sent["gunicorn.request.wait.max"] == 530.5
    assert sent["gunicorn.request.wait.95percentile"] == 40.5
    assert sent["gunicorn.request.wait.count"] == 250
    assert sent["gunicorn.requests.begun"] == 250
    assert sent["gunicorn.requests.oldest"] == 1.235
    assert sent["gunicorn.requests.stranded"] == 2
    assert sent["gunicorn.loop.delay.avg"] == 1.3
    assert sent["gunicorn.loop.delay.max"] == 300.5
    assert sent["gunicorn.loop.delay.95percentile"] == 2.0

    unbounded = IntervalSummary((), {}, COUNTS._replace(threads={}), 4)
    names = {
        point.name
        for point in interval_points(unbounded, app="web", bind=BIND, backlog_type="histogram")
    }
    assert names == {
        "gunicorn.workers",
        "gunicorn.workers.spawned",
        "gunicorn.requests.in_flight",
        "gunicorn.is_running",
    }


@pytest.mark.parametrize(
    ("counts", "stopping", "status"),
    [
        (COUNTS, False, [0]),
        (COUNTS, True, [2]),
        (WorkerCounts(0, 0, 0, 0, 0), False, [2]),
        (WorkerCounts(0, 0, 0, 2, None), False, [0]),
        (None, False, []),
        (None, True, [2]),
    ],
)
def test_is_running(counts: WorkerCounts | None, stopping: bool, status: list[int]) -> None:
    """OK with a worker, CRITICAL without one or at the end, absent if workers are unknown."""
    found = interval_points(
        IntervalSummary((), {}, counts, 0),
        app="web",
        bind=BIND,
        backlog_type="gauge",
        stopping=stopping,
    )
    assert [point.values[0] for point in by_name(found, "gunicorn.is_running")] == status


def test_names_become_legal_tags() -> None:
    """Characters that a tag cannot have are replaced in proc_name and in paths."""
    interval = IntervalSummary((BacklogSummary("/run/my app,#1.sock", (0,), 1),), {}, None, 0)
    found = interval_points(
        interval, app="web|x\ny", bind="/run/my app,#1.sock", backlog_type="gauge"
    )
    assert [p.name for p in found if "listener" in str(p.tags)] == [
        "gunicorn.backlog",
        "gunicorn.backlog.limit",
    ]
    assert found[0].tags == (
        "app:web_x_y",
        "bind:/run/my_app__1.sock",
        "listener:/run/my_app__1.sock",
    )


def test_without_a_known_listener_there_is_no_bind() -> None:
    """Without a bind every metric is sent, and none has this tag."""
    found = interval_points(INTERVAL, app="web", bind="", backlog_type="histogram")
    assert {point.name for point in found} == {metric.name for metric in CATALOG}
    assert not [point for point in found if "bind" in str(point.tags)]


def test_names_and_types_are_datadogs() -> None:
    """Names are legal at Datadog; every metric has a description and, unless a check, a unit."""
    for metric in CATALOG:
        assert re.fullmatch(r"[a-z][a-z0-9_.]{0,199}", metric.name)
        assert metric.description
        assert metric.unit or metric.type == "service_check"


def test_the_readme_has_the_catalog() -> None:
    """The README's table of metrics equals the catalog, row by row."""
    rows = re.findall(r"^\| `(gunicorn\.[\w.]+)` \| (.*) \|$", README.read_text(), re.MULTILINE)
    written = {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in rows}
    expected = {
        metric.name: [
            metric.type.replace("_", " "),
            metric.unit,
            ", ".join(f"`{tag}`" for tag in metric.tags),
            metric.description,
        ]
        for metric in CATALOG
    }
    assert written == expected
