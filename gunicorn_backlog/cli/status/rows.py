"""Listeners and workers as rows of the tables of ``status`` and ``top``."""

from __future__ import annotations

from collections.abc import Sequence

from gunicorn_backlog.cli.inspect.listener_samples import Listener
from gunicorn_backlog.cli.inspect.workers import Worker
from gunicorn_backlog.cli.status.table import NONE, duration, number

BLOCKED_S = 0.1  # a shorter iteration of an event loop is not shown as a block
LISTENER_COLUMNS = ("listener", "backlog", "limit", "dropped", "ever")


def listener_row(listener: Listener) -> tuple[str, ...]:
    """Return a listener's cells; drops are NONE where the kernel does not count them."""
    latest = listener.latest
    length = number(latest.length, True)
    if listener.deepest is not None and latest.max_length is not None:
        length += f" (longest {latest.max_length})"
    return (
        latest.listener,
        length,
        number(latest.limit, True),
        number(listener.dropped, bool(latest.why)),
        number(listener.dropped_ever, bool(latest.why)),
    )


WORKER_COLUMNS = ("pid", "state", "in flight", "queued", "running", "requests", "utilization")


def worker_table(workers: Sequence[Worker]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns and the rows; the last column is there if a worker has an event loop."""
    rows = [worker_row(worker) for worker in workers]
    if not any(worker.blocked_s is not None or worker.pools for worker in workers):
        return WORKER_COLUMNS, rows
    cells = [_loop_cell(worker) for worker in workers]
    return (*WORKER_COLUMNS, "loop"), [(*row, cell) for row, cell in zip(rows, cells, strict=True)]


def _loop_cell(worker: Worker) -> str:
    """Return since when a worker's event loop is blocked, and the state of its pools."""
    facts = []
    if worker.blocked_s is not None and worker.blocked_s >= BLOCKED_S:
        facts.append(f"blocked {duration(worker.blocked_s)}")
    for name, threads in worker.pools:
        size = "" if threads.idle is None else f"/{threads.idle + threads.working}"
        queued = f" +{threads.queued}" if threads.queued else ""
        facts.append(f"{name} {threads.working}{size}{queued}")
    return ", ".join(facts) or NONE


def worker_row(worker: Worker) -> tuple[str, ...]:
    """Return a worker's cells."""
    unknown = worker.in_flight is None
    in_flight = number(worker.in_flight, unknown)
    return (
        str(worker.pid),
        worker.state,
        in_flight if worker.capacity is None else f"{in_flight}/{worker.capacity}",
        number(worker.queued, unknown),
        NONE if worker.oldest_s is None else duration(worker.oldest_s),
        number(worker.requests, unknown),
        number(worker.utilization, unknown, "%"),
    )
