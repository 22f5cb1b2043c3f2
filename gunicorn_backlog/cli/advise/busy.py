"""Busy workers, threads or event loops, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gunicorn_backlog.cli.advise.measured import PoolUse
from gunicorn_backlog.cli.advise.pools import Pools
from gunicorn_backlog.sampling.loops import has_unmeasured_loop
from gunicorn_backlog.sampling.utilization import Utilization
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

AGES_MIN = 30  # ages of requests in flight from which their mean counts


class Busy:
    """Collects the time worked, the available time, and the ages of the requests in flight.

    threads: requests that a worker serves at a time; 0: event loops.
    """

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._utilization = Utilization(clock_ns=clock_ns)
        self._pools = Pools()
        self._first_ns = self._worked_ns = self._available_ns = 0
        self._age_ns = self._ages = 0
        self._is_measured = True
        self.threads = 0

    def add(self, rows: Mapping[int, WorkerRow], *, first: bool = False) -> None:
        """Add a sample."""
        work = self._utilization.update(rows)
        self.threads = max((row.capacity for row in rows.values()), default=self.threads)
        self._is_measured &= not has_unmeasured_loop(rows)
        if first:
            self._first_ns = self._utilization.sampled_ns
            return
        self._worked_ns += work.worked_ns
        self._available_ns += work.available_ns
        self._add_ages(rows)
        self._pools.add(rows)

    def _add_ages(self, rows: Mapping[int, WorkerRow]) -> None:
        now_ns = self._clock_ns()
        for row in rows.values():
            starts_ns = row.starts_ns or ((row.oldest_ns,) if row.oldest_ns else ())
            self._age_ns += sum(max(0, now_ns - start_ns) for start_ns in starts_ns)
            self._ages += len(starts_ns)

    @property
    def worked_s(self) -> float | None:
        """The time worked by all together; None: not measured."""
        is_measured = self._is_measured and self._available_ns > 0
        return max(0, self._worked_ns) / 1e9 if is_measured else None

    @property
    def share(self) -> float | None:
        """The worked part of the available time, 0 to 1; None: not measured."""
        worked_s = self.worked_s
        return None if worked_s is None else min(1.0, worked_s * 1e9 / self._available_ns)

    @property
    def capacity(self) -> int:
        """Requests at a time: the mean over the samples, in whole workers, at least one worker.

        A worker that is starting has no capacity, hence the number at one time may be too low.
        """
        elapsed_ns = self._utilization.sampled_ns - self._first_ns
        workers = self._available_ns / max(1, elapsed_ns * self.threads)
        return self.threads * max(1, round(workers))

    @property
    def age_ms(self) -> float | None:
        """The mean age; None after too few."""
        return self._age_ns / self._ages / 1e6 if self._ages >= AGES_MIN else None

    def pools(self) -> dict[str, PoolUse]:
        """Return the use of the pools of threads behind the loops."""
        return self._pools.use()
