"""Convert an interval's summary to points of the catalog's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gunicorn_backlog.config.options import BacklogType
from gunicorn_backlog.config.tags import clean
from gunicorn_backlog.metrics.catalog import (
    BACKLOG,
    DEEPEST,
    DROPPED,
    IN_FLIGHT,
    IS_RUNNING,
    LIMIT,
    QUEUED,
    SATURATED,
    SPAWNED,
    THREADS,
    UTILIZATION,
    WAIT_95,
    WAIT_AVG,
    WAIT_COUNT,
    WAIT_MAX,
    WORKERS,
    Metric,
    MetricType,
)
from gunicorn_backlog.sampling.window import BacklogSummary, IntervalSummary
from gunicorn_backlog.sampling.worker_counts import WorkerCounts
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary

OK, CRITICAL = 0, 2  # status of a service check


class Point(NamedTuple):
    """One metric with its values and tags: one line to the Agent.

    ``name``: without a prefix. ``values``: one item, or one for each sample of a histogram or
    distribution, in the catalog's unit. ``tags``: cleaned ``key:value``.
    """

    name: str
    type: MetricType
    values: tuple[float, ...]
    tags: tuple[str, ...]


def interval_points(
    interval: IntervalSummary,
    *,
    app: str,
    bind: str,
    backlog_type: BacklogType,
    stopping: bool = False,
) -> list[Point]:
    """Return the points of one interval, without those that could not be measured.

    :param app: value of the tag ``app``: the server's ``proc_name``.
    :param bind: value of the tag ``bind``: the server's first listener. Empty: no tag.
    :param backlog_type: type of ``gunicorn.backlog``. A gauge has the maximum of the samples.
    :param stopping: this is the last push of a shutdown.
    """
    server = _server_tags(app, bind)
    return [
        *_backlog_points(interval.queues, backlog_type, server),
        *_drop_points(interval.dropped, server),
        *_worker_points(interval.counts, server),
        *_load_points(interval, server),
        *_wait_points(interval.waits, server),
        *_check_points(interval.counts, stopping, server),
    ]


def _server_tags(app: str, bind: str) -> tuple[str, ...]:
    """Return the tags of every point; ``bind`` separates servers of one name on one host."""
    app_tag = clean(f"app:{app}")
    return (app_tag, clean(f"bind:{bind}")) if bind else (app_tag,)


def _point(metric: Metric, value: float, *tags: str) -> Point:
    return Point(metric.name, metric.type, (value,), tags)


def _backlog_points(
    queues: tuple[BacklogSummary, ...], backlog_type: BacklogType, server: tuple[str, ...]
) -> Iterator[Point]:
    for queue in queues:
        tags = (*server, _listener_tag(queue.listener))
        # The Agent keeps one value of a gauge per ten seconds: the maximum shows short bursts.
        values = (max(queue.waiting),) if backlog_type == "gauge" else queue.waiting
        yield Point(BACKLOG.name, backlog_type, values, tags)
        if queue.limit is not None:
            yield _point(LIMIT, queue.limit, *tags)
        if queue.deepest is not None:
            yield _point(DEEPEST, queue.deepest, *tags)


def _drop_points(dropped: Mapping[str, int], server: tuple[str, ...]) -> Iterator[Point]:
    for listener, count in dropped.items():
        yield _point(DROPPED, count, *server, _listener_tag(listener))


def _listener_tag(listener: str) -> str:
    return clean(f"listener:{listener}")


def _worker_points(counts: WorkerCounts | None, server: tuple[str, ...]) -> Iterator[Point]:
    if counts is None:
        return
    if counts.unknown:
        yield _point(WORKERS, counts.total, *server)
        return
    yield _point(WORKERS, counts.idle, *server, "state:idle")
    yield _point(WORKERS, counts.working, *server, "state:working")
    yield _point(WORKERS, counts.starting, *server, "state:starting")
    if counts.in_flight is not None:
        yield _point(IN_FLIGHT, counts.in_flight, *server)
    if counts.threads is not None:
        yield _point(THREADS, counts.threads.idle, *server, "state:idle")
        yield _point(THREADS, counts.threads.working, *server, "state:working")
        yield _point(QUEUED, counts.threads.queued, *server)


def _load_points(interval: IntervalSummary, server: tuple[str, ...]) -> Iterator[Point]:
    yield _point(SPAWNED, interval.spawned, *server)
    if interval.utilization is not None:
        yield _point(UTILIZATION, interval.utilization, *server)
    if interval.saturated is not None:
        yield _point(SATURATED, interval.saturated, *server)


def _wait_points(waits: WaitSummary | None, server: tuple[str, ...]) -> Iterator[Point]:
    if waits is not None:
        yield _point(WAIT_AVG, round(waits.average_ms, 1), *server)
        yield _point(WAIT_MAX, waits.longest_ms, *server)
        yield _point(WAIT_95, waits.percentile_95_ms, *server)
        yield _point(WAIT_COUNT, waits.requests, *server)


def _check_points(
    counts: WorkerCounts | None, stopping: bool, server: tuple[str, ...]
) -> Iterator[Point]:
    if stopping:
        yield _point(IS_RUNNING, CRITICAL, *server)
    elif counts is not None:
        yield _point(IS_RUNNING, OK if counts.total > 0 else CRITICAL, *server)
