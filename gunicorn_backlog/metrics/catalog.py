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
    unit: str
    description: str
    type: MetricType = "gauge"
    tags: tuple[str, ...] = ()


EXIT_REASONS = ("asked", "recycled", "timeout", "oom", "killed", "crashed", "boot", "unknown")

BACKLOG = Metric(
    "backlog",
    "gunicorn.backlog",
    "connection",
    "Connections waiting in the accept queue, one value per sample",
    type="histogram",
    tags=("listener",),
)
LIMIT = Metric(
    "backlog",
    "gunicorn.backlog.limit",
    "connection",
    "Accept queue limit enforced by the kernel; with reuse_port the sum over all workers",
    tags=("listener",),
)
DROPPED = Metric(
    "backlog",
    "gunicorn.backlog.dropped",
    "connection",
    "Connection attempts that this listener dropped, with each retry of a client",
    type="count",
    tags=("listener",),
)
DEEPEST = Metric(
    "backlog",
    "gunicorn.backlog.deepest",
    "connection",
    "Longest accept queue of a single worker in the interval (reuse_port only)",
    tags=("listener",),
)
LOST = Metric(
    "backlog",
    "gunicorn.backlog.lost",
    "connection",
    "Connections reset by the kernel because their listening socket was closed",
    type="count",
    tags=("listener",),
)
WORKERS = Metric(
    "workers",
    "gunicorn.workers",
    "worker",
    "Workers by state: idle, working, starting",
    tags=("state:idle", "state:working", "state:starting"),
)
SPAWNED = Metric(
    "workers",
    "gunicorn.workers.spawned",
    "worker",
    "Workers forked; a crash loop raises this count",
    type="count",
)
EXITED = Metric(
    "workers",
    "gunicorn.workers.exited",
    "worker",
    "Workers that exited, by cause",
    type="count",
    tags=tuple(f"reason:{reason}" for reason in EXIT_REASONS),
)
UTILIZATION = Metric(
    "workers",
    "gunicorn.workers.utilization",
    "percent",
    "Share of the interval that workers were busy; gthread: threads; async: event loops",
)
BUSIEST = Metric(
    "workers",
    "gunicorn.workers.busiest",
    "percent",
    "Utilization of the busiest worker (of workers that lived at least half of the interval)",
)
SATURATED = Metric(
    "workers",
    "gunicorn.workers.saturated",
    "percent",
    "Share of samples in which no worker, no gthread thread and no event loop was free",
)
TIMEOUT_USED = Metric(
    "workers",
    "gunicorn.workers.timeout_used",
    "percent",
    "Age of the oldest worker heartbeat as a share of gunicorn's timeout, which kills at 100",
)
CPU = Metric(
    "workers",
    "gunicorn.workers.cpu",
    "percent",
    "CPU time as a share of the interval, mean per worker; can exceed 100 with threads",
)
CPU_WAIT = Metric(
    "workers",
    "gunicorn.workers.cpu_wait",
    "percent",
    "Time that threads were runnable and waited for a CPU, as a share, mean per worker",
)
THREADS = Metric(
    "threads",
    "gunicorn.threads",
    "thread",
    "Threads by state (idle, working) and pool: gthread, anyio, asgiref, default, gevent",
    tags=("state:idle", "state:working", "pool"),
)
QUEUED = Metric(
    "threads",
    "gunicorn.threads.queued",
    "connection",
    "Connections or calls queued for a thread of the pool",
    tags=("pool",),
)
IN_FLIGHT = Metric(
    "requests",
    "gunicorn.requests.in_flight",
    "request",
    "Requests being served",
)
REQUESTS_BEGUN = Metric(
    "requests",
    "gunicorn.requests.begun",
    "request",
    "Requests whose head was parsed and which were handed to the app",
    type="count",
)
OLDEST = Metric(
    "requests",
    "gunicorn.requests.oldest",
    "second",
    "Age of the oldest request in flight since its head was parsed, maximum of the interval",
)
STRANDED = Metric(
    "requests",
    "gunicorn.requests.stranded",
    "request",
    "Requests queued at a full worker while another accepting worker is free",
)
WAIT_AVG = Metric(
    "wait",
    "gunicorn.request.wait.avg",
    "millisecond",
    "Average time that a request waited before a worker, thread or event loop took it",
)
WAIT_MAX = Metric(
    "wait",
    "gunicorn.request.wait.max",
    "millisecond",
    "Longest time that a request waited before a worker, thread or event loop took it",
)
WAIT_95 = Metric(
    "wait",
    "gunicorn.request.wait.95percentile",
    "millisecond",
    "95th percentile of the time that requests waited before a worker or thread took them",
)
WAIT_COUNT = Metric(
    "wait",
    "gunicorn.request.wait.count",
    "request",
    "Requests included in the wait statistics",
    type="count",
)
DELAY_AVG = Metric(
    "loop",
    "gunicorn.loop.delay.avg",
    "millisecond",
    "Average delay of a 100 ms timer in the event loops: how long ready callbacks wait",
)
DELAY_MAX = Metric(
    "loop",
    "gunicorn.loop.delay.max",
    "millisecond",
    "Longest delay of a 100 ms timer in the event loops, also of a block that lasts",
)
DELAY_95 = Metric(
    "loop",
    "gunicorn.loop.delay.95percentile",
    "millisecond",
    "95th percentile of the delays of a 100 ms timer in the event loops",
)
IS_RUNNING = Metric(
    None,
    "gunicorn.is_running",
    "",
    "OK while the arbiter runs and has a worker; CRITICAL on the last push of a shutdown",
    type="service_check",
)

CATALOG = tuple(each for each in tuple(globals().values()) if isinstance(each, Metric))
