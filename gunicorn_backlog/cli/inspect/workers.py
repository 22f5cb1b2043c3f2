"""One worker as it is shown: its state, its requests, and how busy it was."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gunicorn_backlog.cli.inspect.worker_processes import STARTING
from gunicorn_backlog.scoreboard.slot import HAS_CAPACITY, STATE_UNKNOWN, Kind
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

WorkerState = Literal["idle", "working", "starting", "unknown"]


class Worker(NamedTuple):
    """A worker; None is what can't be told of it.

    ``capacity`` is how many requests it serves at a time, ``oldest_s`` how long the oldest of those
    under way has been, ``requests`` how many it handed to the app so far, ``utilization`` the share
    of its time in percent that it worked since the last look. ``kind`` is how its slot says that it
    is instrumented; None: it has no slot.
    """

    pid: int
    state: WorkerState
    in_flight: int | None = None
    capacity: int | None = None
    queued: int | None = None
    oldest_s: float | None = None
    requests: int | None = None
    utilization: float | None = None
    kind: int | None = None


class Span(NamedTuple):
    """From one look to the next, in ns of CLOCK_MONOTONIC: what the worker had said ``before``."""

    began_ns: int
    before: WorkerRow | None
    now_ns: int


def without_slot(pid: int, age: int) -> Worker:
    """Return a worker that says nothing: it has no slot yet, or will get none."""
    return Worker(pid, "starting" if age == STARTING else "unknown")


def worker_of(pid: int, row: WorkerRow, span: Span) -> Worker:
    """Return a worker by what it says."""
    if row.kind in STATE_UNKNOWN:
        return Worker(pid, "unknown", kind=row.kind)
    oldest_s = None if row.oldest_ns is None else max(0, span.now_ns - row.oldest_ns) / 1e9
    return Worker(
        pid,
        "working" if row.busy else "idle",
        in_flight=row.in_flight,
        capacity=row.capacity or None,
        queued=row.queued if row.kind == Kind.GTHREAD else None,
        oldest_s=oldest_s,
        requests=row.begun,
        utilization=_utilization(row, span) if row.kind in HAS_CAPACITY else None,
        kind=row.kind,
    )


def _utilization(row: WorkerRow, span: Span) -> float | None:
    began_ns, before, now_ns = span
    if before is None or before.claimed_ns != row.claimed_ns or row.capacity == 0:
        return None
    worked_ns = row.worked_by(now_ns) - before.worked_by(began_ns)
    available_ns = row.capacity * (now_ns - began_ns)
    return round(100 * min(max(0, worked_ns), available_ns) / available_ns, 2)
