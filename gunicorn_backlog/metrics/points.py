"""An interval's totals as points of the catalogue's metrics."""

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

OK, CRITICAL = 0, 2  # Datadog's service check states


class Point(NamedTuple):
    """One line to the Agent: ``values`` has more than one for a histogram or distribution only."""

    name: str
    type: MetricType
    values: tuple[float, ...]
    tags: tuple[str, ...]


def points(
    interval: IntervalSummary,
    *,
    app: str,
    bind: str,
    backlog_type: BacklogType,
    stopping: bool = False,
) -> list[Point]:
    """Return all that is to be sent of one interval; what could not be measured is left out.

    :param app: the server's ``proc_name``, the value of the tag ``app``.
    :param bind: the server's first listener, the value of the tag ``bind``; empty: no such tag.
    :param stopping: whether this is the last push of a shutdown.
    """
    server = _server_tags(app, bind)
    check = _is_running(interval.counts, stopping, server)
    return [
        *_backlog_points(interval.queues, backlog_type, server),
        *_drop_points(interval.dropped, server),
        *_worker_points(interval.counts, server),
        *_work_points(interval, server),
        *_wait_points(interval.waits, server),
        *([check] if check else []),
    ]


def _server_tags(app: str, bind: str) -> tuple[str, ...]:
    """Return the tags of every point: two servers of one name on one host differ in ``bind``."""
    app_tag = clean(f"app:{app}")
    return (app_tag, clean(f"bind:{bind}")) if bind else (app_tag,)


def _point(metric: Metric, value: float, *tags: str) -> Point:
    return Point(metric.name, metric.type, (value,), tags)


def _backlog_points(
    queues: tuple[BacklogSummary, ...], backlog_type: BacklogType, server: tuple[str, ...]
) -> Iterator[Point]:
    for queue in queues:
        tags = (*server, _listener_tag(queue.listener))
        # An Agent keeps the last gauge of its ten seconds: send the worst, not a random one.
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


def _worker_points(crew: WorkerCounts | None, server: tuple[str, ...]) -> Iterator[Point]:
    if crew is None:
        return
    if crew.unknown:
        yield _point(WORKERS, crew.total, *server)
        return
    yield _point(WORKERS, crew.idle, *server, "state:idle")
    yield _point(WORKERS, crew.working, *server, "state:working")
    yield _point(WORKERS, crew.starting, *server, "state:starting")
    if crew.in_flight is not None:
        yield _point(IN_FLIGHT, crew.in_flight, *server)
    if crew.threads is not None:
        yield _point(THREADS, crew.threads.idle, *server, "state:idle")
        yield _point(THREADS, crew.threads.working, *server, "state:working")
        yield _point(QUEUED, crew.threads.queued, *server)


def _work_points(interval: IntervalSummary, server: tuple[str, ...]) -> Iterator[Point]:
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


def _is_running(crew: WorkerCounts | None, stopping: bool, server: tuple[str, ...]) -> Point | None:
    if crew is None and not stopping:
        return None
    alive = crew is not None and crew.total > 0 and not stopping
    return _point(IS_RUNNING, OK if alive else CRITICAL, *server)
