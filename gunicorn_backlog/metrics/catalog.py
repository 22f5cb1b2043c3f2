"""The catalogue of what is sent; README, metadata and dashboards are checked against it."""

from __future__ import annotations

from typing import Literal, NamedTuple

MetricType = Literal["gauge", "count", "histogram", "distribution", "service_check"]


class Metric(NamedTuple):
    """One line of it.

    ``tags`` are those it has beside ``app`` and ``bind``, which all have; ``type`` and ``unit`` are
    Datadog's words.
    """

    name: str
    type: MetricType
    unit: str
    tags: tuple[str, ...]
    description: str


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
    "The limit that the kernel enforces; with reuse_port the sum of all workers' queues",
)
DROPPED = Metric(
    "gunicorn.backlog.dropped",
    "count",
    "connection",
    ("listener",),
    "Connections that this listener dropped since the last push, each attempt of a client counted",
)
DEEPEST = Metric(
    "gunicorn.backlog.deepest",
    "gauge",
    "connection",
    ("listener",),
    "With reuse_port only: the longest queue of a single worker in the interval",
)
WORKERS = Metric(
    "gunicorn.workers",
    "gauge",
    "worker",
    ("state:idle", "state:working", "state:starting"),
    "Workers by state",
)
SPAWNED = Metric(
    "gunicorn.workers.spawned",
    "count",
    "worker",
    (),
    "Workers forked since the last push; a crash loop shows here",
)
UTILIZATION = Metric(
    "gunicorn.workers.utilization",
    "gauge",
    "percent",
    (),
    "Share of the interval that workers spent working; of gthread's workers, their threads",
)
SATURATED = Metric(
    "gunicorn.workers.saturated",
    "gauge",
    "percent",
    (),
    "Share of the interval's samples in which no worker and no thread was free",
)
THREADS = Metric(
    "gunicorn.threads",
    "gauge",
    "thread",
    ("state:idle", "state:working"),
    "Threads of gthread's workers by state",
)
QUEUED = Metric(
    "gunicorn.threads.queued",
    "gauge",
    "connection",
    (),
    "Connections that gthread's workers handed to their threads and none has begun",
)
IN_FLIGHT = Metric(
    "gunicorn.requests.in_flight",
    "gauge",
    "request",
    (),
    "Requests being served now",
)
WAIT_AVG = Metric(
    "gunicorn.request.wait.avg",
    "gauge",
    "millisecond",
    (),
    "How long requests lay until a worker or thread took them: the average of the interval",
)
WAIT_MAX = Metric(
    "gunicorn.request.wait.max",
    "gauge",
    "millisecond",
    (),
    "How long requests lay until a worker or thread took them: the longest",
)
WAIT_95 = Metric(
    "gunicorn.request.wait.95percentile",
    "gauge",
    "millisecond",
    (),
    "How long requests lay until a worker or thread took them: 95 % of them no longer than this",
)
WAIT_COUNT = Metric(
    "gunicorn.request.wait.count",
    "count",
    "request",
    (),
    "Requests that were taken, and of which is known how long they lay",
)
IS_RUNNING = Metric(
    "gunicorn.is_running",
    "service_check",
    "",
    (),
    "OK while the arbiter lives and has a worker, CRITICAL on the last push of a shutdown",
)

CATALOG = (
    BACKLOG,
    LIMIT,
    DROPPED,
    DEEPEST,
    WORKERS,
    SPAWNED,
    UTILIZATION,
    SATURATED,
    THREADS,
    QUEUED,
    IN_FLIGHT,
    WAIT_AVG,
    WAIT_MAX,
    WAIT_95,
    WAIT_COUNT,
    IS_RUNNING,
)
