"""Counts of the arbiter's workers by state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gunicorn_backlog.scoreboard.slot import GTHREAD, HAS_CAPACITY, STATE_UNKNOWN, Kind
from gunicorn_backlog.scoreboard.worker_row import WorkerRow, WorkerRows


class ThreadCounts(NamedTuple):
    """Numbers of all gthread workers: threads by state, and connections ``queued`` for a thread."""

    idle: int
    working: int
    queued: int


class WorkerCounts(NamedTuple):
    """Number of workers by state, and the requests that they serve.

    working: busy workers.
    unknown: living workers whose state is not readable.
    in_flight: requests in flight; None if a worker is unknown.
    threads: None without gthread workers.
    saturated: no worker and no thread is free; None: a worker is unknown or has no capacity.
    """

    idle: int
    working: int
    starting: int
    unknown: int
    in_flight: int | None
    threads: ThreadCounts | None = None
    saturated: bool | None = None

    @property
    def total(self) -> int:
        """Number of all workers."""
        return self.idle + self.working + self.starting + self.unknown


class _Seen(NamedTuple):
    """A worker without a slot.

    since_s: time of its first sample.
    heartbeat: in this sample; None: not readable.
    """

    since_s: float
    heartbeat: float | None


class WorkerCounter:
    """Counts workers by state; keeps workers without a slot from sample to sample.

    overdue: number of workers without a slot that are not starting any more.
    serving: number of overdue workers whose heartbeat moves, which gunicorn begins after
        ``post_worker_init``.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[int, _Seen] = {}  # those without a slot, by pid
        self._moved: set[int] = set()
        self.overdue = 0
        self.serving = 0

    def count(
        self,
        running: Mapping[int, int],
        rows: WorkerRows,
        boot_limit_s: float,
        *,
        watched_after: int = 0,
        kind_starting: Kind = Kind.UNKNOWN,
        heartbeats: Mapping[int, float] = MappingProxyType({}),
    ) -> WorkerCounts:
        """Return the counts of the ``running`` workers (age by pid).

        :param boot_limit_s: a worker without a slot for longer is unknown, not starting.
        :param watched_after: age of the youngest worker forked before the sampling. This one and
            older workers are unknown without a slot.
        :param kind_starting: the kind of the starting workers.
        :param heartbeats: of the workers without a slot, by pid.
        """
        expected = [pid for pid in rows.without_slot if running[pid] > watched_after]
        starting = self._starting(expected, boot_limit_s, heartbeats)
        seen = [row for row in rows.by_pid.values() if row.kind not in STATE_UNKNOWN]
        working = len([row for row in seen if row.busy])
        idle, unknown = len(seen) - working, len(running) - len(seen) - starting
        if unknown:
            return WorkerCounts(idle, working, starting, unknown, None)
        in_flight = sum([row.in_flight for row in seen])
        threads, saturated = _threads(seen, kind_starting), _saturated(seen, kind_starting)
        return WorkerCounts(idle, working, starting, unknown, in_flight, threads, saturated)

    def _starting(
        self, without_slot: list[int], boot_limit_s: float, heartbeats: Mapping[int, float]
    ) -> int:
        if not without_slot and not self._seen:  # the usual case; saves 1 µs
            return 0
        now_s = self._clock()
        self._seen = {
            pid: self._seen.get(pid, _Seen(now_s, heartbeats.get(pid))) for pid in without_slot
        }
        # Slots are read before heartbeats: a worker may allocate one in between. Therefore only a
        # heartbeat that moved in two samples in a row counts.
        moved_before = self._moved
        self._moved = {
            pid
            for pid, beat in heartbeats.items()
            if pid in self._seen and self._seen[pid].heartbeat not in (None, beat)
        }
        serving = self._moved & moved_before
        late = {pid for pid, seen in self._seen.items() if now_s - seen.since_s > boot_limit_s}
        self.serving, self.overdue = len(serving), len(serving | late)
        return len(without_slot) - self.overdue


def _saturated(rows: Sequence[WorkerRow], kind_starting: Kind) -> bool | None:
    if kind_starting not in HAS_CAPACITY:
        return None
    free = False
    for row in rows:
        if not row.capacity:
            return None
        free |= row.busy < row.capacity
    return not free


def _threads(rows: Sequence[WorkerRow], kind_starting: Kind) -> ThreadCounts | None:
    pools = [row for row in rows if row.kind == GTHREAD]
    if not pools:
        return ThreadCounts(0, 0, 0) if kind_starting == GTHREAD else None
    idle = sum([pool.capacity - pool.busy for pool in pools if pool.capacity > pool.busy])
    working = sum([pool.busy for pool in pools])
    return ThreadCounts(idle, working, sum([pool.queued for pool in pools]))
