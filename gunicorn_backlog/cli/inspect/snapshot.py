"""Snapshots of a server: samples of its listeners and workers over some time, and their summary.

The arbiter samples in the same way; here another process reads the shared memory and the listeners.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.listener_samples import Listener, ListenerSamples
from gunicorn_backlog.cli.inspect.worker_processes import Running, Workers
from gunicorn_backlog.cli.inspect.workers import Span, Worker, without_slot, worker_of
from gunicorn_backlog.sampling.cpu import CpuMeter, CpuUsage
from gunicorn_backlog.sampling.loops import delay_summary
from gunicorn_backlog.sampling.requests import RequestSampler
from gunicorn_backlog.sampling.utilization import Utilization
from gunicorn_backlog.sampling.window import IntervalSummary, Sample, Window
from gunicorn_backlog.sampling.worker_counts import WorkerCounter, WorkerCounts
from gunicorn_backlog.scoreboard.kind import MEASURES_WAIT, Kind
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.wait_histogram import (
    BUCKETS,
    CounterDelta,
    CounterError,
    WaitSummary,
)
from gunicorn_backlog.scoreboard.worker_row import WorkerRow, WorkerRows

SAMPLE_EVERY_S = 0.1


class Snapshot(NamedTuple):
    """The summary of all samples in ``lasted_s`` seconds.

    ``age_s``: seconds since the arbiter started. ``interval``: workers and waits, as in the
    arbiter's summary of an interval; without listeners and forks.
    """

    server: Server
    server_info: ServerInfo
    age_s: float
    lasted_s: float
    listeners: tuple[Listener, ...]
    workers: tuple[Worker, ...]
    interval: IntervalSummary


class SnapshotTaker:
    """Takes snapshots of one server: ``begin``, then ``sample`` and ``close``, repeatedly.

    The constructor and these methods raise EndedError if the server has ended, and InspectError if
    the shared memory cannot be read.
    """

    def __init__(self, server: Server) -> None:
        clock = Clock(server.pid)
        self._server = server
        self._clock_ns = clock.now_ns
        self._listeners = ListenerSamples(server.pid)
        self._workers = Workers(server, clock)
        self._counter = WorkerCounter()
        self._utilization = Utilization(clock_ns=clock.now_ns)
        self._cpu = CpuMeter(every_ns=0)
        self._counted = CounterDelta([0] * BUCKETS)
        self._delayed = CounterDelta([0] * BUCKETS)
        self._requests = RequestSampler()
        self._begun = CounterDelta((0,))
        self._window = Window()
        self._before: tuple[int, Mapping[int, WorkerRow]] = (0, {})
        self._began_ns = 0
        self._waits_measured = False
        self._seen: tuple[ServerInfo, Running, WorkerRows] | None = None

    def begin(self) -> Snapshot:
        """Return a snapshot of one sample; its values over time, as waits, are None."""
        self.sample()
        first = self.close()
        no_times = first.interval._replace(waits=None, delays=None, begun=None, cpu=CpuUsage())
        return first._replace(interval=no_times)

    def sample(self) -> None:
        """Sample all listeners and workers once."""
        about = self._server.server_info
        self._listeners.sample(about.listeners)
        running = self._workers.running(about)
        self._cpu.add(set(running.pids.values()))
        rows = self._server.memory.reader.read(running.ages)
        self._seen = about, running, rows
        if not rows.unread:
            self._waits_measured = any(row.measures_wait for row in rows.by_pid.values())
        work = None if rows.unread else self._utilization.update(rows.by_pid)
        counts = None if rows.unread else self._count(about, running, rows)
        is_measured = counts is not None and counts.saturated is not None
        requests = None
        if counts is not None and not counts.unknown:
            requests = self._requests.sample(rows.by_pid, self._clock_ns())
        self._window.add(Sample({}, counts, work if is_measured else None, 0, requests))

    def close(self) -> Snapshot:
        """Return the snapshot of all samples since the former call."""
        self._server.check_alive()
        assert self._seen is not None, "sample() was not called"
        about, running, rows = self._seen
        began_ns, self._began_ns = self._began_ns, self._clock_ns()
        delays = self._delays(rows.by_pid)
        begun, cpu = self._requests_begun(), self._cpu.update(set(running.pids.values()))
        waits, interval = self._waits(about), self._window.close()
        workers = self._worker_states(running, rows)
        shares = [each.utilization for each in workers if each.utilization is not None]
        busiest = None if interval.utilization is None else max(shares, default=None)
        interval = interval._replace(
            waits=waits, delays=delays, begun=begun, busiest=busiest, cpu=cpu
        )
        return Snapshot(
            self._server,
            about,
            self._server.age_s,
            (self._began_ns - began_ns) / 1e9,
            self._listeners.close(),
            workers,
            interval,
        )

    def _count(self, about: ServerInfo, running: Running, rows: WorkerRows) -> WorkerCounts:
        return self._counter.count(
            running.ages,
            rows,
            about.boot_limit_s,
            kind_starting=Kind(about.kind),
            full_loops=self._utilization.full_loops,
        )

    def _requests_begun(self) -> int | None:
        try:
            return sum(self._begun.difference((self._server.memory.reader.begun(),)))
        except CounterError:  # the arbiter's warnings include the same error
            return None

    def _delays(self, rows: Mapping[int, WorkerRow]) -> WaitSummary | None:
        try:
            since = self._delayed.difference(self._server.memory.reader.delays())
        except CounterError:  # the arbiter's warnings include the same error
            return None
        return delay_summary(since, rows, self._clock_ns())

    def _waits(self, about: ServerInfo) -> WaitSummary | None:
        try:
            return self._counted.update(
                self._server.memory.reader.waits(),
                measured=self._waits_measured,
                from_header=about.kind in MEASURES_WAIT,
            )
        except CounterError:  # the arbiter's warnings include the same error
            return None

    def _worker_states(self, running: Running, rows: WorkerRows) -> tuple[Worker, ...]:
        """Return all workers, with their pids in our pid namespace."""
        (before_ns, before), now_ns = self._before, self._clock_ns()
        self._before = now_ns, rows.by_pid
        reader = self._server.memory.reader
        begun_before = {slot.pid: detail.begun_before for slot, detail in reader.details()}
        workers = []
        for own_pid, pid in running.pids.items():
            row = rows.by_pid.get(own_pid)
            if row is None:
                workers.append(without_slot(pid, running.ages[own_pid]))
            else:
                span = Span(before_ns, before.get(own_pid), now_ns)
                workers.append(worker_of(pid, row, span, begun_before.get(own_pid, 0)))
        return tuple(workers)


def take_snapshot(server: Server, seconds: float) -> Snapshot:
    """Sample a server, and return the snapshot. Raises InspectError.

    :param seconds: duration, 0.1 or more.
    """
    taker = SnapshotTaker(server)
    taker.begin()
    for _ in range(round(seconds / SAMPLE_EVERY_S)):
        time.sleep(SAMPLE_EVERY_S)
        taker.sample()
    return taker.close()
