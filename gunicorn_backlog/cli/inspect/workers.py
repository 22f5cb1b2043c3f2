"""One worker of a snapshot: its state, its requests and its utilization."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gunicorn_backlog.cli.inspect.worker_processes import STARTING
from gunicorn_backlog.sampling.busiest import percent, work_of
from gunicorn_backlog.sampling.worker_counts import ThreadCounts, pool_counts
from gunicorn_backlog.scoreboard.kind import STATE_UNKNOWN, Kind
from gunicorn_backlog.scoreboard.loop_row import LoopState
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

WorkerState = Literal["idle", "working", "starting", "unknown"]


class Worker(NamedTuple):
    """A worker; an unknown value is None.

    ``pid``: in our pid namespace. ``capacity``: requests that the worker serves at a time; None:
    unlimited. ``queued``: requests that wait for a thread. ``oldest_s``: seconds since the oldest
    request in flight began. ``requests``: begun since the worker started. ``utilization``: percent
    of the capacity that was busy since the former snapshot, or of the time that the event loop ran.
    ``blocked_s``: seconds since the event loop's latest poll, or its overdue beat; 0: in a poll.
    ``pools``: name and counts of each thread pool behind the event loop. ``kind``: of its slot;
    None: no slot.
    """

    pid: int
    state: WorkerState
    in_flight: int | None = None
    capacity: int | None = None
    queued: int | None = None
    oldest_s: float | None = None
    requests: int | None = None
    utilization: float | None = None
    blocked_s: float | None = None
    pools: tuple[tuple[str, ThreadCounts], ...] = ()
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
    worker = Worker(
        pid,
        "working" if row.busy else "idle",
        in_flight=row.in_flight,
        capacity=row.capacity or None,
        queued=row.queued if row.kind == Kind.GTHREAD else None,
        oldest_s=oldest_s,
        requests=max(0, row.begun - begun_before),
        utilization=_utilization(row, span),
        kind=row.kind,
    )
    return worker if row.loop is None else _with_loop(worker, row.loop, span)


def _with_loop(worker: Worker, loop: LoopState, span: Span) -> Worker:
    pools = tuple((name, pool_counts(pool)) for name, pool in loop.pools)
    blocked_s = loop.blocked_ns(span.now_ns) / 1e9 if loop.measured else None
    return worker._replace(pools=pools, blocked_s=blocked_s)


def _utilization(row: WorkerRow, span: Span) -> float | None:
    began_ns, before, now_ns = span
    if before is None or before.claimed_ns != row.claimed_ns:
        return None
    formerly, now = work_of(before, began_ns), work_of(row, now_ns)
    if formerly is None or now is None or now.until_ns <= formerly.until_ns:
        return None
    return percent(formerly, now, row.capacity)
