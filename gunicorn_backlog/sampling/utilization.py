"""Utilization: the time that workers worked between two samples, and the available time.

A worker with an event loop works while the loop runs, see ``loops``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gunicorn_backlog.sampling.loops import Loops
from gunicorn_backlog.scoreboard.worker_row import WorkerRow


class WorkTime(NamedTuple):
    """Nanoseconds of all workers, threads or loops together: ``worked_ns`` of ``available_ns``."""

    worked_ns: int
    available_ns: int


class Utilization:
    """The difference of two samples. A worker is available from its slot's allocation on.

    sampled_ns: time of the latest sample, CLOCK_MONOTONIC.
    full_loops: pids of the workers whose event loop was not free between the latest two samples.
    """

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self.sampled_ns = clock_ns()
        self._rows: Mapping[int, WorkerRow] = {}  # by pid, of the last sample
        self._loops = Loops()
        self.full_loops: frozenset[int] = frozenset()

    def update(self, rows: Mapping[int, WorkerRow]) -> WorkTime:
        """Return the work since the last sample, or since the creation of the object.

        Workers that have died are left out. A worker without a row in the last sample is left out
        unless its slot was allocated since then.

        :param rows: by pid, read immediately before the call.
        """
        since_ns, now_ns = self.sampled_ns, self._clock_ns()
        former_rows, self._rows, self.sampled_ns = self._rows, rows, now_ns
        elapsed_ns = now_ns - since_ns
        worked_ns = available_ns = busy = formerly_busy = 0
        for pid, row in rows.items():
            former = former_rows.get(pid)
            if former is not None and former.claimed_ns == row.claimed_ns:
                worked_ns -= former.worked_ns
                formerly_busy += former.timed_busy
                available_ns += row.capacity * elapsed_ns
            elif row.claimed_ns >= since_ns:
                available_ns += row.capacity * (now_ns - row.claimed_ns)
            else:
                continue
            worked_ns += row.worked_ns
            busy += row.timed_busy
        loops = self._loops.update(rows, since_ns, now_ns)
        self.full_loops = loops.full
        worked_ns += busy * now_ns - formerly_busy * since_ns + loops.ran_ns
        return WorkTime(worked_ns, available_ns + loops.elapsed_ns)
