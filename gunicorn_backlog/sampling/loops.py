"""Event loops between two samples: the time that they ran, and those that were not free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gunicorn_backlog.scoreboard.loop_row import BEAT_EVERY_NS, Meter
from gunicorn_backlog.scoreboard.wait_histogram import (
    BUCKETS,
    LONGEST_MS,
    WaitSummary,
    bucket_of,
    summarize,
)
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

FULL = 0.95  # share of the time since the previous sample from which a loop is not free
_BEAT_EVERY_MS = BEAT_EVERY_NS // 10**6


class LoopWork(NamedTuple):
    """Work of all event loops since the previous sample.

    ran_ns: of ``elapsed_ns``. May be below 0, after a sample that took a late beat for a block.
    full: pids of the workers whose loop was not free.
    """

    ran_ns: int
    elapsed_ns: int
    full: frozenset[int]


class _Sampled(NamedTuple):
    """A loop in the previous sample."""

    claimed_ns: int
    ran_ns: int
    until_ns: int
    full: bool


class Loops:
    """The difference of two samples of event loops. The memory is by pid, of the latest sample."""

    def __init__(self) -> None:
        self._sampled: dict[int, _Sampled] = {}

    def update(self, rows: Mapping[int, WorkerRow], since_ns: int, now_ns: int) -> LoopWork:
        """Return the work since the previous sample.

        A worker that was not in the previous sample is left out, unless its slot was allocated
        since then.

        :param rows: by pid.
        :param since_ns: time of the previous sample.
        """
        all_ran_ns = all_elapsed_ns = 0
        former, self._sampled = self._sampled, {}
        for pid, row in rows.items():
            if row.loop is None or not row.loop.measured:
                continue
            ran_ns, until_ns = row.loop.running_time(now_ns)
            before = former.get(pid)
            if before is None or before.claimed_ns != row.claimed_ns:
                is_new = row.claimed_ns >= since_ns
                began = (0, row.claimed_ns) if is_new else (ran_ns, until_ns)
                before = _Sampled(row.claimed_ns, *began, full=False)
            elapsed_ns = until_ns - before.until_ns
            if elapsed_ns <= 0:  # no beat since the previous sample
                self._sampled[pid] = before
                continue
            full = ran_ns - before.ran_ns >= FULL * elapsed_ns
            self._sampled[pid] = _Sampled(row.claimed_ns, ran_ns, until_ns, full)
            all_ran_ns += ran_ns - before.ran_ns
            all_elapsed_ns += elapsed_ns
        full_pids = frozenset(pid for pid, loop in self._sampled.items() if loop.full)
        return LoopWork(all_ran_ns, all_elapsed_ns, full_pids)


def has_unmeasured_loop(rows: Mapping[int, WorkerRow]) -> bool:
    """Return whether the running time of a loop can't be measured."""
    return any(row.loop is not None and row.loop.meter == Meter.ABSENT for row in rows.values())


def delay_summary(
    since: Sequence[int], rows: Mapping[int, WorkerRow], now_ns: int
) -> WaitSummary | None:
    """Return the summary of an interval's delays; None if no loop has a beat.

    Includes the beats that are overdue now: a block counts in each interval that it touches, once
    for each beat that the block has swallowed until now.

    :param since: the counters of the delays since the previous interval; empty: all are 0.
    :param rows: of the latest sample, by pid.
    """
    loops = [row.loop for row in rows.values() if row.loop is not None and row.loop.beat_ns]
    if not loops:
        return None
    counters = list(since) or [0] * BUCKETS
    for loop in loops:
        late_ms = min(LONGEST_MS, loop.late_ns(now_ns) // 10**6)
        for delay_ms in range(late_ms, 0, -_BEAT_EVERY_MS):
            counters[bucket_of(delay_ms)] += 1
    return summarize(counters)
