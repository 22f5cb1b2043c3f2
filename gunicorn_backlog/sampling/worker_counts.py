"""Counts of the arbiter's workers by state."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gunicorn_backlog.scoreboard.kind import GTHREAD, STATE_UNKNOWN, Kind
from gunicorn_backlog.scoreboard.loop_row import Meter, PoolState
from gunicorn_backlog.scoreboard.worker_row import WorkerRow, WorkerRows

GTHREAD_POOL = "gthread"
ABSENT = int(Meter.ABSENT)


class ThreadCounts(NamedTuple):
    """Numbers of one kind of pool in all workers.

    idle: None if the number of threads is not fixed.
    queued: connections or calls that wait for a thread.
    """

    idle: int | None
    working: int
    queued: int


class WorkerCounts(NamedTuple):
    """Number of workers by state, and the requests that they serve.

    working: busy workers.
    unknown: living workers whose state is not readable.
    in_flight: requests in flight; None if a worker is unknown.
    threads: by the pool's name; without pools that no worker uses.
    saturated: no worker, no thread and no event loop is free; None: not measured.
    """

    idle: int
    working: int
    starting: int
    unknown: int
    in_flight: int | None
    threads: Mapping[str, ThreadCounts] = MappingProxyType({})
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
        full_loops: Collection[int] = (),
    ) -> WorkerCounts:
        """Return the counts of the ``running`` workers (age by pid).

        :param boot_limit_s: a worker without a slot for longer is unknown, not starting.
        :param watched_after: age of the youngest worker forked before the sampling. This one and
            older workers are unknown without a slot.
        :param kind_starting: the kind of the starting workers.
        :param heartbeats: of the workers without a slot, by pid.
        :param full_loops: pids of the workers whose event loop was not free.
        """
        expected = [pid for pid in rows.without_slot if running[pid] > watched_after]
        starting = self._starting(expected, boot_limit_s, heartbeats)
        seen = [row for row in rows.by_pid.values() if row.kind not in STATE_UNKNOWN]
        working = len([row for row in seen if row.busy])
        idle, unknown = len(seen) - working, len(running) - len(seen) - starting
        if unknown:
            return WorkerCounts(idle, working, starting, unknown, None)
        in_flight = sum([row.in_flight for row in seen])
        threads = _threads(seen, kind_starting)
        saturated = _saturated(rows.by_pid, kind_starting, full_loops)
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


def _saturated(
    rows: Mapping[int, WorkerRow], kind_starting: Kind, full_loops: Collection[int]
) -> bool | None:
    if kind_starting in STATE_UNKNOWN:
        return None
    free = False
    for pid, row in rows.items():
        if row.loop is None:
            free |= row.busy < row.capacity
        elif row.loop.meter == ABSENT:
            return None
        else:
            free |= pid not in full_loops
    return not free


def _threads(rows: Sequence[WorkerRow], kind_starting: Kind) -> dict[str, ThreadCounts]:
    found: dict[str, list[ThreadCounts]] = {}
    if kind_starting == GTHREAD:
        found[GTHREAD_POOL] = []  # its threads are starting
    for row in rows:
        if row.kind == GTHREAD:
            idle = max(0, row.capacity - row.busy)
            found.setdefault(GTHREAD_POOL, []).append(ThreadCounts(idle, row.busy, row.queued))
        elif row.loop is not None:
            for name, pool in row.loop.pools:
                found.setdefault(name, []).append(pool_counts(pool))
    return {name: merge(counts) for name, counts in found.items()}


def pool_counts(pool: PoolState) -> ThreadCounts:
    """Return the counts of one worker's pool."""
    return ThreadCounts(pool.idle, pool.working, pool.queued)


def merge(counts: Sequence[ThreadCounts]) -> ThreadCounts:
    """Return the sum of several pools; ``idle`` is None if one of them has no fixed number."""
    idle = [pool.idle for pool in counts]
    return ThreadCounts(
        None if None in idle else sum(number for number in idle if number is not None),
        sum(pool.working for pool in counts),
        sum(pool.queued for pool in counts),
    )
