"""Convert an interval's summary to points of the catalog's metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from gunicorn_backlog.config.options import GROUPS, BacklogType, Group
from gunicorn_backlog.config.tags import clean
from gunicorn_backlog.metrics import catalog
from gunicorn_backlog.metrics.catalog import CATALOG, Metric, MetricType
from gunicorn_backlog.sampling.window import BacklogSummary, IntervalSummary
from gunicorn_backlog.sampling.worker_counts import WorkerCounts
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary

OK, CRITICAL = 0, 2  # status of a service check
_GROUPS = {metric.name: metric.group for metric in CATALOG}


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
    groups: Collection[Group] = GROUPS,
    stopping: bool = False,
) -> list[Point]:
    """Return the points of one interval, without those that could not be measured.

    :param app: value of the tag ``app``: the server's ``proc_name``.
    :param bind: value of the tag ``bind``: the server's first listener. Empty: no tag.
    :param backlog_type: type of ``gunicorn.backlog``. A gauge has the maximum of the samples.
    :param groups: the metrics to return; those without a group are always returned.
    :param stopping: this is the last push of a shutdown.
    """
    tags = [clean(f"app:{app}")]
    if bind:  # it separates servers of one name on one host
        tags.append(clean(f"bind:{bind}"))
    found = [
        *_backlog_points(interval.queues, backlog_type),
        *_count_points(catalog.DROPPED, interval.dropped),
        *_count_points(catalog.LOST, interval.lost),
        *_worker_points(interval.counts),
        *_single_points(interval),
        *_wait_points(interval.waits),
        *_delay_points(interval.delays),
    ]
    if stopping:
        found.append(_point(catalog.IS_RUNNING, CRITICAL))
    elif interval.counts is not None:
        found.append(_point(catalog.IS_RUNNING, OK if interval.counts.total > 0 else CRITICAL))
    return [
        point._replace(tags=(*tags, *point.tags))
        for point in found
        if (group := _GROUPS[point.name]) is None or group in groups
    ]


def _point(metric: Metric, value: float, *tags: str) -> Point:
    return Point(metric.name, metric.type, (value,), tags)


def _backlog_points(
    queues: tuple[BacklogSummary, ...], backlog_type: BacklogType
) -> Iterator[Point]:
    for queue in queues:
        tag = _listener_tag(queue.listener)
        # Of a gauge the Agent keeps one value per ten seconds: the maximum shows short bursts.
        values = (max(queue.waiting),) if backlog_type == "gauge" else queue.waiting
        yield Point(catalog.BACKLOG.name, backlog_type, values, (tag,))
        if queue.limit is not None:
            yield _point(catalog.LIMIT, queue.limit, tag)
        if queue.deepest is not None:
            yield _point(catalog.DEEPEST, queue.deepest, tag)


def _count_points(metric: Metric, counts: Mapping[str, int]) -> Iterator[Point]:
    for listener, count in counts.items():
        yield _point(metric, count, _listener_tag(listener))


def _listener_tag(listener: str) -> str:
    return clean(f"listener:{listener}")


def _worker_points(counts: WorkerCounts | None) -> Iterator[Point]:
    if counts is None:
        return
    if counts.unknown:
        yield _point(catalog.WORKERS, counts.total)
        return
    yield _point(catalog.WORKERS, counts.idle, "state:idle")
    yield _point(catalog.WORKERS, counts.working, "state:working")
    yield _point(catalog.WORKERS, counts.starting, "state:starting")
    if counts.in_flight is not None:
        yield _point(catalog.IN_FLIGHT, counts.in_flight)
    for name, threads in counts.threads.items():
        pool = f"pool:{name}"
        if threads.idle is not None:
            yield _point(catalog.THREADS, threads.idle, "state:idle", pool)
        yield _point(catalog.THREADS, threads.working, "state:working", pool)
        yield _point(catalog.QUEUED, threads.queued, pool)


def _single_points(interval: IntervalSummary) -> Iterator[Point]:
    """Yield the points of exits, and of all metrics with one value per interval and no tags."""
    yield _point(catalog.SPAWNED, interval.spawned)
    for reason, count in interval.exited.items():
        yield _point(catalog.EXITED, count, f"reason:{reason}")
    values = {
        catalog.UTILIZATION: interval.utilization,
        catalog.BUSIEST: interval.busiest,
        catalog.SATURATED: interval.saturated,
        catalog.TIMEOUT_USED: interval.timeout_used,
        catalog.REQUESTS_BEGUN: interval.begun,
        catalog.OLDEST: None if interval.oldest_s is None else round(interval.oldest_s, 3),
        catalog.STRANDED: interval.stranded,
        catalog.CPU: interval.cpu.used,
        catalog.CPU_WAIT: interval.cpu.waited,
    }
    for metric, value in values.items():
        if value is not None:
            yield _point(metric, value)


def _wait_points(waits: WaitSummary | None) -> Iterator[Point]:
    if waits is not None:
        yield _point(catalog.WAIT_AVG, round(waits.average_ms, 1))
        yield _point(catalog.WAIT_MAX, waits.longest_ms)
        yield _point(catalog.WAIT_95, waits.percentile_95_ms)
        yield _point(catalog.WAIT_COUNT, waits.requests)


def _delay_points(delays: WaitSummary | None) -> Iterator[Point]:
    if delays is not None:
        yield _point(catalog.DELAY_AVG, round(delays.average_ms, 1))
        yield _point(catalog.DELAY_MAX, delays.longest_ms)
        yield _point(catalog.DELAY_95, delays.percentile_95_ms)
