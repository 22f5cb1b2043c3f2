"""An interval's totals as points of the catalogue's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gunicorn_backlog.catalogue import (
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
from gunicorn_backlog.options import BacklogType
from gunicorn_backlog.roster import Crew
from gunicorn_backlog.tags import clean
from gunicorn_backlog.waits import Waits
from gunicorn_backlog.window import Interval, Queue

OK, CRITICAL = 0, 2  # Datadog's service check states


class Point(NamedTuple):
    """One line to the Agent: ``values`` has more than one for a histogram or distribution only."""

    name: str
    type: MetricType
    values: tuple[float, ...]
    tags: tuple[str, ...]


def points(
    interval: Interval, *, app: str, backlog_type: BacklogType, stopping: bool = False
) -> list[Point]:
    """Return all that is to be sent of one interval; what could not be measured is left out.

    :param app: the server's ``proc_name``, the value of the tag ``app``.
    :param stopping: whether this is the last push of a shutdown.
    """
    app_tag = clean(f"app:{app}")
    check = _is_running(interval.crew, stopping, app_tag)
    return [
        *_of_queues(interval.queues, backlog_type, app_tag),
        *_of_drops(interval.dropped, app_tag),
        *_of_crew(interval.crew, app_tag),
        *_of_work(interval, app_tag),
        *_of_waits(interval.waits, app_tag),
        *([check] if check else []),
    ]


def _point(metric: Metric, value: float, *tags: str) -> Point:
    return Point(metric.name, metric.type, (value,), tags)


def _of_queues(
    queues: tuple[Queue, ...], backlog_type: BacklogType, app_tag: str
) -> Iterator[Point]:
    for queue in queues:
        tags = (app_tag, _listener_tag(queue.listener))
        # An Agent keeps the last gauge of its ten seconds: send the worst, not a random one.
        values = (max(queue.waiting),) if backlog_type == "gauge" else queue.waiting
        yield Point(BACKLOG.name, backlog_type, values, tags)
        if queue.limit is not None:
            yield _point(LIMIT, queue.limit, *tags)
        if queue.deepest is not None:
            yield _point(DEEPEST, queue.deepest, *tags)


def _of_drops(dropped: Mapping[str, int], app_tag: str) -> Iterator[Point]:
    for listener, count in dropped.items():
        yield _point(DROPPED, count, app_tag, _listener_tag(listener))


def _listener_tag(listener: str) -> str:
    return clean(f"listener:{listener}")


def _of_crew(crew: Crew | None, app_tag: str) -> Iterator[Point]:
    if crew is None:
        return
    if crew.unknown:
        yield _point(WORKERS, crew.total, app_tag)
        return
    yield _point(WORKERS, crew.idle, app_tag, "state:idle")
    yield _point(WORKERS, crew.working, app_tag, "state:working")
    yield _point(WORKERS, crew.starting, app_tag, "state:starting")
    if crew.in_flight is not None:
        yield _point(IN_FLIGHT, crew.in_flight, app_tag)
    if crew.threads is not None:
        yield _point(THREADS, crew.threads.idle, app_tag, "state:idle")
        yield _point(THREADS, crew.threads.working, app_tag, "state:working")
        yield _point(QUEUED, crew.threads.queued, app_tag)


def _of_work(interval: Interval, app_tag: str) -> Iterator[Point]:
    yield _point(SPAWNED, interval.spawned, app_tag)
    if interval.utilization is not None:
        yield _point(UTILIZATION, interval.utilization, app_tag)
    if interval.saturated is not None:
        yield _point(SATURATED, interval.saturated, app_tag)


def _of_waits(waits: Waits | None, app_tag: str) -> Iterator[Point]:
    if waits is not None:
        yield _point(WAIT_AVG, round(waits.average_ms, 1), app_tag)
        yield _point(WAIT_MAX, waits.longest_ms, app_tag)
        yield _point(WAIT_95, waits.percentile_95_ms, app_tag)
        yield _point(WAIT_COUNT, waits.requests, app_tag)


def _is_running(crew: Crew | None, stopping: bool, app_tag: str) -> Point | None:
    if crew is None and not stopping:
        return None
    alive = crew is not None and crew.total > 0 and not stopping
    return _point(IS_RUNNING, OK if alive else CRITICAL, app_tag)
