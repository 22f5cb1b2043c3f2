"""The demo's scenarios: a server, its phases, and the metrics to show."""

from __future__ import annotations

from dataclasses import dataclass

from show import Column


@dataclass(frozen=True)
class Phase:
    """A phase of the demo: ``clients`` that send a new request to ``path`` after each response."""

    name: str
    clients: int
    lasts_s: float
    what: str
    path: str = "/"


@dataclass(frozen=True)
class Scenario:
    """A gunicorn with ``workers`` workers, and the phases that it goes through."""

    worker_class: str
    app: str
    workers: int
    phases: tuple[Phase, ...]
    columns: tuple[Column, ...]


REQUEST = "/sleep/0.4"
SYNC = Scenario(
    worker_class="sync",
    app="app:app",
    workers=2,
    phases=(
        Phase("idle", 0, 4.0, "no client"),
        Phase("busy", 1, 5.0, "one client: a worker is free at any time", REQUEST),
        Phase(
            "saturated",
            12,
            7.0,
            "twelve clients: two are served, ten wait in the accept queue",
            REQUEST,
        ),
        Phase("drained", 0, 4.0, "no client: all requests were answered"),
    ),
    columns=(
        Column("backlog", "gunicorn.backlog", full=12),
        Column("limit", "gunicorn.backlog.limit"),
        Column("working", "gunicorn.workers", "state:working", full=2),
        Column("idle", "gunicorn.workers", "state:idle", full=2),
        Column("in flight", "gunicorn.requests.in_flight", full=2),
    ),
)

ASYNC = Scenario(
    worker_class="uvicorn_worker.UvicornWorker",
    app="async_app:app",
    workers=1,
    phases=(
        Phase("idle", 0, 4.0, "no client"),
        Phase("busy", 1, 5.0, "one client: half of the time the event loop computes", "/half/0.05"),
        Phase("blocked", 1, 6.0, "each request blocks the event loop for two seconds", "/block/2"),
        Phase(
            "full pool",
            16,
            6.0,
            "sixteen clients: four calls run in threads, the others wait for one",
            "/thread/0.5",
        ),
        Phase("drained", 0, 4.0, "no client: all requests were answered"),
    ),
    columns=(
        Column("util. %", "gunicorn.workers.utilization", full=100),
        Column("satur. %", "gunicorn.workers.saturated", full=100),
        Column("delay, ms", "gunicorn.loop.delay.max", full=2000),
        Column("threads", "gunicorn.threads", "state:working", full=4),
        Column("queued", "gunicorn.threads.queued", full=16),
        Column("in flight", "gunicorn.requests.in_flight", full=16),
    ),
)
