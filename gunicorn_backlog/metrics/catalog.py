"""The metric catalog; tests compare README, metadata.csv and the dashboard with the catalog."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gunicorn_backlog.config.options import Group

MetricType = Literal["gauge", "count", "histogram", "distribution", "service_check"]


class Metric(NamedTuple):
    """A metric of the catalog.

    ``group`` is a value of the setting ``metrics``; None: the metric is always pushed.
    ``type`` and ``unit`` are Datadog's terms; a service check has no unit. ``tags`` are keys, or
    ``key:value`` for each possible value, in addition to ``app`` and ``bind`` of every metric.
    """

    group: Group | None
    name: str
    type: MetricType
    unit: str
    tags: tuple[str, ...]
    description: str


BACKLOG = Metric(
    "backlog",
    "gunicorn.backlog",
    "histogram",
    "connection",
    ("listener",),
    "Connections waiting in the accept queue, one value per sample",
)
LIMIT = Metric(
    "backlog",
    "gunicorn.backlog.limit",
    "gauge",
    "connection",
    ("listener",),
    "Accept queue limit enforced by the kernel; with reuse_port the sum over all workers",
)
DROPPED = Metric(
    "backlog",
    "gunicorn.backlog.dropped",
    "count",
    "connection",
    ("listener",),
    "Connection attempts that this listener dropped, with each retry of a client",
)
DEEPEST = Metric(
    "backlog",
    "gunicorn.backlog.deepest",
    "gauge",
    "connection",
    ("listener",),
    "Longest accept queue of a single worker in the interval (reuse_port only)",
)
WORKERS = Metric(
    "workers",
    "gunicorn.workers",
    "gauge",
    "worker",
    ("state:idle", "state:working", "state:starting"),
    "Workers by state: idle, working, starting",
)
SPAWNED = Metric(
    "workers",
    "gunicorn.workers.spawned",
    "count",
    "worker",
    (),
    "Workers forked; a crash loop raises this count",
)
UTILIZATION = Metric(
    "workers",
    "gunicorn.workers.utilization",
    "gauge",
    "percent",
    (),
    "Share of the interval that workers were busy; gthread: threads; async: event loops",
)
SATURATED = Metric(
    "workers",
    "gunicorn.workers.saturated",
    "gauge",
    "percent",
    (),
    "Share of samples in which no worker, no gthread thread and no event loop was free",
)
CPU = Metric(
    "workers",
    "gunicorn.workers.cpu",
    "gauge",
    "percent",
    (),
    "CPU time as a share of the interval, mean per worker; can exceed 100 with threads",
)
CPU_WAIT = Metric(
    "workers",
    "gunicorn.workers.cpu_wait",
    "gauge",
    "percent",
    (),
    "Time that threads were runnable and waited for a CPU, as a share, mean per worker",
)
THREADS = Metric(
    "threads",
    "gunicorn.threads",
    "gauge",
    "thread",
    ("state:idle", "state:working", "pool"),
    "Threads by state (idle, working) and pool: gthread, anyio, asgiref, default, gevent",
)
QUEUED = Metric(
    "threads",
    "gunicorn.threads.queued",
    "gauge",
    "connection",
    ("pool",),
    "Connections or calls queued for a thread of the pool",
)
IN_FLIGHT = Metric(
    "requests",
    "gunicorn.requests.in_flight",
    "gauge",
    "request",
    (),
    "Requests being served",
)
WAIT_AVG = Metric(
    "wait",
    "gunicorn.request.wait.avg",
    "gauge",
    "millisecond",
    (),
    "Average time that a request waited before a worker, thread or event loop took it",
)
WAIT_MAX = Metric(
    "wait",
    "gunicorn.request.wait.max",
    "gauge",
    "millisecond",
    (),
    "Longest time that a request waited before a worker, thread or event loop took it",
)
WAIT_95 = Metric(
    "wait",
    "gunicorn.request.wait.95percentile",
    "gauge",
    "millisecond",
    (),
    "95th percentile of the time that requests waited before a worker or thread took them",
)
WAIT_COUNT = Metric(
    "wait",
    "gunicorn.request.wait.count",
    "count",
    "request",
    (),
    "Requests included in the wait statistics",
)
DELAY_AVG = Metric(
    "loop",
    "gunicorn.loop.delay.avg",
    "gauge",
    "millisecond",
    (),
    "Average delay of a 100 ms timer in the event loops: how long ready callbacks wait",
)
DELAY_MAX = Metric(
    "loop",
    "gunicorn.loop.delay.max",
    "gauge",
    "millisecond",
    (),
    "Longest delay of a 100 ms timer in the event loops, also of a block that lasts",
)
DELAY_95 = Metric(
    "loop",
    "gunicorn.loop.delay.95percentile",
    "gauge",
    "millisecond",
    (),
    "95th percentile of the delays of a 100 ms timer in the event loops",
)
IS_RUNNING = Metric(
    None,
    "gunicorn.is_running",
    "service_check",
    "",
    (),
    "OK while the arbiter runs and has a worker; CRITICAL on the last push of a shutdown",
)

CATALOG = tuple(each for each in tuple(globals().values()) if isinstance(each, Metric))
