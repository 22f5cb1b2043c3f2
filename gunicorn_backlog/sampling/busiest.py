"""The utilization of the busiest worker in an interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gunicorn_backlog.scoreboard.worker_row import WorkerRow

LIVED = 0.5  # least share of the interval


class Work(NamedTuple):
    """Time that a worker, its threads or its loop has worked until a time."""

    claimed_ns: int
    worked_ns: int
    until_ns: int


class Busiest:
    """Compares the latest row of each worker, also of dead ones, with the row an interval ago."""

    def __init__(self, now_ns: int) -> None:
        self._began_ns = now_ns
        self._former: dict[int, Work] = {}  # by pid
        self._latest: Mapping[int, WorkerRow] = {}  # of the latest sample
        self._read_ns = now_ns
        self._gone: dict[int, tuple[WorkerRow, int]] = {}  # the last row, and the time of its read

    def sample(self, rows: Mapping[int, WorkerRow], now_ns: int) -> None:
        """Keep the rows of a sample, by pid."""
        for pid in self._latest.keys() - rows.keys():
            self._gone[pid] = self._latest[pid], self._read_ns
        self._latest, self._read_ns = rows, now_ns

    def take(self, now_ns: int) -> float | None:
        """Return the greatest utilization in percent; None: no worker lived long enough."""
        began_ns, self._began_ns = self._began_ns, now_ns
        former, self._former = self._former, {}
        latest = self._gone | {pid: (row, self._read_ns) for pid, row in self._latest.items()}
        self._latest, self._gone = {}, {}
        shares = []
        for pid, (row, read_ns) in latest.items():
            work = work_of(row, read_ns)
            if work is None:
                continue
            self._former[pid] = work
            before = former.get(pid)
            if before is None or before.claimed_ns != row.claimed_ns:
                if row.claimed_ns < began_ns:  # since when the worker worked is not known
                    continue
                before = Work(row.claimed_ns, 0, row.claimed_ns)
            if work.until_ns - before.until_ns >= LIVED * (now_ns - began_ns):
                shares.append(percent(before, work, row.capacity))
        return max(shares, default=None)


def percent(before: Work, now: Work, capacity: int) -> float:
    """Return the utilization between two times, which differ; capacity 0: of an event loop."""
    available_ns = (now.until_ns - before.until_ns) * (capacity or 1)
    worked_ns = now.worked_ns - before.worked_ns
    return round(100 * min(max(0.0, worked_ns / available_ns), 1.0), 2)


def work_of(row: WorkerRow, now_ns: int) -> Work | None:
    """Return the work until now; None: not measured."""
    if row.capacity:
        return Work(row.claimed_ns, row.worked_by(now_ns), now_ns)
    if row.loop is None or not row.loop.measured:
        return None
    return Work(row.claimed_ns, *row.loop.running_time(now_ns))
