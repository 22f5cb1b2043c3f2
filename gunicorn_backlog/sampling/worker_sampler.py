"""Samples of the workers: their states, their work, and their requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling import sampler_log
from gunicorn_backlog.sampling.busiest import Busiest
from gunicorn_backlog.sampling.cpu import CpuMeter, CpuUsage
from gunicorn_backlog.sampling.loops import has_unmeasured_loop
from gunicorn_backlog.sampling.requests import RequestSample, RequestSampler, waiting_by_pid
from gunicorn_backlog.sampling.totals import Totals
from gunicorn_backlog.sampling.utilization import Utilization, WorkTime
from gunicorn_backlog.sampling.worker_counts import WorkerCounter, WorkerCounts
from gunicorn_backlog.scoreboard.kind import MEASURES_WAIT
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary
from gunicorn_backlog.scoreboard.worker_row import WorkerRow, WorkerRows
from gunicorn_backlog.workers import registry

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter

UNREAD_IN_A_ROW = 3  # samples


class WorkerSampler:
    """Samples the workers of one arbiter, and logs each unreadable number once.

    boot_limit_s: age in seconds from which a worker without a slot is not starting.
    """

    def __init__(self, arbiter: Arbiter, scoreboard: Scoreboard | None, logger: OnceLogger) -> None:
        self._arbiter = arbiter
        self._scoreboard = scoreboard
        self._logger = logger
        self._counter = WorkerCounter()
        self._utilization = Utilization()
        self._busiest = Busiest(time.monotonic_ns())
        self._cpu = CpuMeter()
        self._running: Mapping[int, int] = {}  # age by pid, of the latest sample
        self._totals: Totals | None = None
        self._rows: Mapping[int, WorkerRow] = {}  # of the latest sample; empty: one is unread
        self._requests = RequestSampler()
        self._all_known = False  # whether the state of each worker is known
        self._all_measured = False  # whether the utilization of each worker is measured
        self._waits_measured = False  # whether a worker measures the wait of each request
        self._watched_after = 0  # age of the youngest worker forked before the sampling
        self._unread_in_a_row = 0
        self.boot_limit_s = 0

    def begin(self, forked: int, since_ns: int) -> None:
        """Start or restart the sampling.

        :param forked: the number of workers forked before; these are not instrumented.
        :param since_ns: start of the sampling, CLOCK_MONOTONIC.
        """
        self._watched_after = forked
        self._utilization, self._cpu = Utilization(), CpuMeter()
        self._busiest = Busiest(since_ns)
        if self._scoreboard is not None:
            self._totals = Totals(self._scoreboard.reader, self._logger)

    def sample(self, running: Mapping[int, int]) -> tuple[WorkerCounts | None, WorkTime | None]:
        """Return the counts and the work of all workers: their ages by pid.

        None if a slot is not readable: numbers without one of the workers would be wrong.
        """
        former, self._running = self._running, running
        if former.keys() != running.keys():
            self._cpu.add(running)
        if self._scoreboard is None:
            return WorkerCounts(0, 0, 0, len(running), None), None
        rows = self._scoreboard.reader.read(running)
        self._rows = {} if rows.unread else rows.by_pid
        if rows.unread:
            return self._unread(len(running)), None
        self._unread_in_a_row = 0
        work = self._utilization.update(rows.by_pid)
        self._busiest.sample(rows.by_pid, self._utilization.sampled_ns)
        counts = self._count(running, rows)
        self._all_measured = counts.saturated is not None
        return counts, work if self._all_measured else None

    def sample_requests(
        self,
        counts: WorkerCounts | None,
        lengths: Mapping[int, int],
        asked: Callable[[], Collection[int]],
    ) -> RequestSample | None:
        """Return the requests of the latest sample; None: not known.

        :param counts: of this sample.
        :param lengths: of the accept queues that one worker has, by inode.
        :param asked: returns the pids of workers that gunicorn has asked to exit.
        """
        if counts is None:
            return None
        self._all_known = self._scoreboard is not None and counts.unknown == 0
        if self._scoreboard is None or counts.unknown:
            return None
        waiting = None
        if lengths:
            details = self._scoreboard.reader.details()
            waiting = waiting_by_pid(details, lengths)
        return self._requests.sample(self._rows, time.monotonic_ns(), waiting, asked)

    def waits(self) -> WaitSummary | None:
        """Return the waits of the requests since the last call; None: not measured."""
        if self._totals is None:
            return None
        from_header = registry.kind_forked(self._arbiter) in MEASURES_WAIT
        return self._totals.waits(measured=self._waits_measured, from_header=from_header)

    def delays(self) -> WaitSummary | None:
        """Return the delays of the event loops since the last call; None: not measured."""
        return None if self._totals is None else self._totals.delays(self._rows)

    def begun(self) -> int | None:
        """Return the requests handed to the app since the last call; None: not known."""
        begun = None if self._totals is None else self._totals.begun()
        return begun if self._all_known else None

    def busiest(self) -> float | None:
        """Return the utilization of the busiest worker since the last call; None: not measured."""
        busiest = self._busiest.take(self._utilization.sampled_ns)
        return busiest if self._all_measured else None

    def cpu(self) -> CpuUsage:
        """Return the workers' use of CPUs since the latest reading, about a second ago or more."""
        usage = self._cpu.update(self._running)
        for name, error in self._cpu.errors.items():
            self._logger.warn(name, f"{name} can't be read: {error}: it is not sent")
        return usage

    def _count(self, running: Mapping[int, int], rows: WorkerRows) -> WorkerCounts:
        if rows.by_pid:
            self._waits_measured = any(row.measures_wait for row in rows.by_pid.values())
        counts = self._counter.count(
            running,
            rows,
            self.boot_limit_s,
            watched_after=self._watched_after,
            kind_starting=registry.kind_forked(self._arbiter),
            heartbeats=_gunicorn.heartbeats(self._arbiter, rows.without_slot),
            full_loops=self._utilization.full_loops,
        )
        if counts.unknown:
            kinds = {row.kind for row in rows.by_pid.values()}
            sampler_log.warn_no_slot(self._logger, self._counter, self.boot_limit_s)
            worker_class = self._arbiter.cfg.worker_class_str
            sampler_log.warn_unknown_kinds(self._logger, kinds, worker_class)
        elif counts.saturated is None and has_unmeasured_loop(rows.by_pid):
            sampler_log.warn_unmeasured_loop(self._logger)
        return counts

    def _unread(self, running: int) -> WorkerCounts | None:
        """Return None; after UNREAD_IN_A_ROW calls the number of workers, without states."""
        self._unread_in_a_row += 1
        if self._unread_in_a_row < UNREAD_IN_A_ROW:
            return None
        sampler_log.warn_unread(self._logger)
        return WorkerCounts(0, 0, 0, running, None)
