"""One worker of a snapshot: its state, its requests and its utilization."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gunicorn_backlog.cli.inspect.worker_processes import STARTING
from gunicorn_backlog.scoreboard.slot import HAS_CAPACITY, STATE_UNKNOWN, Kind
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

WorkerState = Literal["idle", "working", "starting", "unknown"]


class Worker(NamedTuple):
    """A worker; an unknown value is None.

    ``pid``: in our pid namespace. ``capacity``: requests that the worker serves at a time; None:
    unlimited. ``queued``: requests that wait for a thread. ``oldest_s``: seconds since the oldest
    request in flight began. ``requests``: begun since the worker started. ``utilization``: percent
    of the capacity that was busy since the former snapshot. ``kind``: of its slot; None: no slot.
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
    """The time between two snapshots, in ns of CLOCK_MONOTONIC; ``before``: the former row."""

    began_ns: int
    before: WorkerRow | None
    now_ns: int


def without_slot(pid: int, age: int) -> Worker:
    """Return a worker without a slot; ``age`` is STARTING or WITHOUT_SLOT."""
    return Worker(pid, "starting" if age == STARTING else "unknown")


def worker_of(pid: int, row: WorkerRow, span: Span, begun_before: int) -> Worker:
    """Return a worker with the values of its slot.

    :param begun_before: requests of the slot's former owners.
    """
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
        requests=max(0, row.begun - begun_before),
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
