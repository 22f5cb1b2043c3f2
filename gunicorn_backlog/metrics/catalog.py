"""The metric catalog; tests compare README, metadata.csv and the dashboard with the catalog."""

from __future__ import annotations

from typing import Literal, NamedTuple

MetricType = Literal["gauge", "count", "histogram", "distribution", "service_check"]


class Metric(NamedTuple):
    """A metric of the catalog.

    ``type`` and ``unit`` are Datadog's terms; a service check has no unit. ``tags`` are keys, or
    ``key:value`` for each possible value, in addition to ``app`` and ``bind`` of every metric.
    """

    name: str
    type: MetricType
    unit: str
    tags: tuple[str, ...]
    description: str


EXIT_REASONS = (
    "asked",
    "recycled",
    "timeout",
    "oom",
    "killed",
    "crashed",
    "boot",
    "unknown",
)

BACKLOG = Metric(
    "gunicorn.backlog",
    "histogram",
    "connection",
    ("listener",),
    "Connections waiting in the accept queue, one value per sample",
)
LIMIT = Metric(
    "gunicorn.backlog.limit",
    "gauge",
    "connection",
    ("listener",),
    "Accept queue limit enforced by the kernel; with reuse_port the sum over all workers",
)
DROPPED = Metric(
    "gunicorn.backlog.dropped",
    "count",
    "connection",
    ("listener",),
    "Connection attempts that this listener dropped, with each retry of a client",
)
DEEPEST = Metric(
    "gunicorn.backlog.deepest",
    "gauge",
    "connection",
    ("listener",),
    "Longest accept queue of a single worker in the interval (reuse_port only)",
)
LOST = Metric(
    "gunicorn.backlog.lost",
    "count",
    "connection",
    ("listener",),
    "Connections reset by the kernel because their listening socket was closed",
)
WORKERS = Metric(
    "gunicorn.workers",
    "gauge",
    "worker",
    ("state:idle", "state:working", "state:starting"),
    "Workers by state: idle, working, starting",
)
SPAWNED = Metric(
    "gunicorn.workers.spawned",
    "count",
    "worker",
    (),
    "Workers forked; a crash loop raises this count",
)
EXITED = Metric(
    "gunicorn.workers.exited",
    "count",
    "worker",
    tuple(f"reason:{reason}" for reason in EXIT_REASONS),
    "Workers that exited, by cause",
)
UTILIZATION = Metric(
    "gunicorn.workers.utilization",
    "gauge",
    "percent",
    (),
    "Share of the interval that workers were busy; gthread: threads; async: event loops",
)
BUSIEST = Metric(
    "gunicorn.workers.busiest",
    "gauge",
    "percent",
    (),
    "Utilization of the busiest worker (of workers that lived at least half of the interval)",
)
SATURATED = Metric(
    "gunicorn.workers.saturated",
    "gauge",
    "percent",
    (),
    "Share of samples in which no worker, no gthread thread and no event loop was free",
)
TIMEOUT_USED = Metric(
    "gunicorn.workers.timeout_used",
    "gauge",
    "percent",
    (),
    "Age of the oldest worker heartbeat as a share of gunicorn's timeout, which kills at 100",
)
THREADS = Metric(
    "gunicorn.threads",
    "gauge",
    "thread",
    ("state:idle", "state:working", "pool"),
    "Threads by state (idle, working) and pool: gthread, anyio, asgiref, default, gevent",
)
QUEUED = Metric(
    "gunicorn.threads.queued",
    "gauge",
    "connection",
    ("pool",),
    "Connections or calls queued for a thread of the pool",
)
IN_FLIGHT = Metric(
    "gunicorn.requests.in_flight",
    "gauge",
    "request",
    (),
    "Requests being served",
)
REQUESTS_BEGUN = Metric(
    "gunicorn.requests.begun",
    "count",
    "request",
    (),
    "Requests whose head was parsed and which were handed to the app",
)
OLDEST = Metric(
    "gunicorn.requests.oldest",
    "gauge",
    "second",
    (),
    "Age of the oldest request in flight since its head was parsed, maximum of the interval",
)
STRANDED = Metric(
    "gunicorn.requests.stranded",
    "gauge",
    "request",
    (),
    "Requests queued at a full worker while another accepting worker is free",
)
WAIT_AVG = Metric(
    "gunicorn.request.wait.avg",
    "gauge",
    "millisecond",
    (),
    "Average time that a request waited before a worker, thread or event loop took it",
)
WAIT_MAX = Metric(
    "gunicorn.request.wait.max",
    "gauge",
    "millisecond",
    (),
    "Longest time that a request waited before a worker, thread or event loop took it",
)
WAIT_95 = Metric(
    "gunicorn.request.wait.95percentile",
    "gauge",
    "millisecond",
    (),
    "95th percentile of the time that requests waited before a worker or thread took them",
)
WAIT_COUNT = Metric(
    "gunicorn.request.wait.count",
    "count",
    "request",
    (),
    "Requests included in the wait statistics",
)
DELAY_AVG = Metric(
    "gunicorn.loop.delay.avg",
    "gauge",
    "millisecond",
    (),
    "Average delay of a 100 ms timer in the event loops: how long ready callbacks wait",
)
DELAY_MAX = Metric(
    "gunicorn.loop.delay.max",
    "gauge",
    "millisecond",
    (),
    "Longest delay of a 100 ms timer in the event loops, also of a block that lasts",
)
DELAY_95 = Metric(
    "gunicorn.loop.delay.95percentile",
    "gauge",
    "millisecond",
    (),
    "95th percentile of the delays of a 100 ms timer in the event loops",
)
IS_RUNNING = Metric(
    "gunicorn.is_running",
    "service_check",
    "",
    (),
    "OK while the arbiter runs and has a worker; CRITICAL on the last push of a shutdown",
)

CATALOG = tuple(each for each in tuple(globals().values()) if isinstance(each, Metric))
