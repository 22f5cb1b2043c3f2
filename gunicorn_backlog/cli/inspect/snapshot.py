"""Looks at a server for a while, as its own arbiter does, and says what was seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from gunicorn_backlog.cli.errors import EndedError
from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.listeners import ListenerReader, ListenerState
from gunicorn_backlog.cli.inspect.worker_processes import Running, Workers
from gunicorn_backlog.cli.inspect.workers import Span, Worker, without_slot, worker_of
from gunicorn_backlog.sampling.drops import Drops
from gunicorn_backlog.sampling.utilization import Utilization
from gunicorn_backlog.sampling.window import IntervalSummary, Sample, Window
from gunicorn_backlog.sampling.worker_counts import WorkerCounter, WorkerCounts
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.slot import MEASURES_WAIT, Kind
from gunicorn_backlog.scoreboard.wait_histogram import (
    BUCKETS,
    HistogramDelta,
    WaitsError,
    WaitSummary,
)
from gunicorn_backlog.scoreboard.worker_row import WorkerRow, WorkerRows

SAMPLE_EVERY_S = 0.1


class Listener(NamedTuple):
    """One listener: the ``lengths`` of its queue, a sample each, and what was read last.

    ``dropped`` are connections since the look began, ``dropped_ever`` since its sockets were made.
    """

    lengths: tuple[int, ...]
    deepest: int | None
    dropped: int | None
    latest: ListenerState

    @property
    def dropped_ever(self) -> int | None:
        """Connections dropped since its sockets were made."""
        return None if self.latest.drops is None else sum(self.latest.drops.values())


class Snapshot(NamedTuple):
    """What was seen in ``lasted_s`` seconds; ``interval`` is as the arbiter's, less the queues."""

    server: Server
    server_info: ServerInfo
    age_s: float
    lasted_s: float
    listeners: tuple[Listener, ...]
    workers: tuple[Worker, ...]
    interval: IntervalSummary


class SnapshotTaker:
    """Looks at one server: ``begin``, then ``sample`` a few times, then ``close``; and again.

    All of these raise EndedError when the server has ended, and InspectError.
    """

    def __init__(self, server: Server) -> None:
        try:
            clock = Clock(server.pid)
        except OSError:
            raise EndedError(server.pid) from None
        self._server = server
        self._clock_ns = clock.now_ns
        self._outside = ListenerReader(server.pid)
        self._workers = Workers(server, clock)
        self._counter = WorkerCounter()
        self._utilization = Utilization(clock_ns=clock.now_ns)
        self._counted = HistogramDelta([0] * BUCKETS)
        self._drops: dict[str, Drops] = {}
        self._window = Window()
        self._readings: list[list[ListenerState]] = []
        self._before: tuple[int, Mapping[int, WorkerRow]] = (0, {})
        self._began_ns = 0
        self._waits_measured = False
        self._seen: tuple[ServerInfo, Running, WorkerRows] | None = None

    def begin(self) -> Snapshot:
        """Take what is now for the beginning; of what takes time nothing is told yet."""
        self.sample()
        look = self.close()
        return look._replace(interval=look.interval._replace(waits=None))

    def sample(self) -> None:
        """Look at everything once."""
        about = self._server.server_info
        self._readings.append(self._outside.read(about.listeners))
        running = self._workers.running(about)
        rows = self._server.memory.reader.read(running.ages, with_oldest=True)
        self._seen = about, running, rows
        if not rows.unread:
            self._waits_measured = any(row.measures_wait for row in rows.by_pid.values())
        counts = None if rows.unread else self._count(about, running, rows)
        work = None if counts is None else self._utilization.update(rows.by_pid)
        has_capacity = counts is not None and counts.saturated is not None
        self._window.add(Sample({}, counts, work if has_capacity else None, 0))

    def close(self) -> Snapshot:
        """Return what the samples since the last call come to."""
        self._server.check_alive()
        assert self._seen is not None, "nothing was sampled"
        about, running, rows = self._seen
        began_ns, self._began_ns = self._began_ns, self._clock_ns()
        interval = self._window.close({}, self._waits(about))
        assert interval is not None
        return Snapshot(
            self._server,
            about,
            self._server.age_s,
            (self._began_ns - began_ns) / 1e9,
            self._listeners(),
            self._told(running, rows),
            interval,
        )

    def _count(self, about: ServerInfo, running: Running, rows: WorkerRows) -> WorkerCounts:
        return self._counter.count(
            running.ages, rows, about.boot_limit_s, kind_starting=Kind(about.kind)
        )

    def _waits(self, about: ServerInfo) -> WaitSummary | None:
        try:
            return self._counted.update(
                self._server.memory.reader.waits(),
                measured=self._waits_measured,
                from_header=about.kind in MEASURES_WAIT,
            )
        except WaitsError:  # the arbiter says so, too, among its warnings
            return None

    def _listeners(self) -> tuple[Listener, ...]:
        readings, self._readings = self._readings, []
        latest = {it.listener: it for those in readings for it in those}
        return tuple(
            self._listener(
                [it for those in readings for it in those if it.listener == name], latest[name]
            )
            for name in latest
        )

    def _listener(self, readings: list[ListenerState], latest: ListenerState) -> Listener:
        drops = self._drops.setdefault(latest.listener, Drops())
        for reading in readings:
            if reading.drops is not None:
                drops.add(reading.drops)
        longest = [it.max_length for it in readings if it.max_length is not None]
        return Listener(
            lengths=tuple(it.length for it in readings if it.length is not None),
            deepest=max(longest, default=None),
            dropped=drops.take() if drops.begun and latest.drops is not None else None,
            latest=latest,
        )

    def _told(self, running: Running, rows: WorkerRows) -> tuple[Worker, ...]:
        """Return each worker, by the pid that is seen from here."""
        (before_ns, before), now_ns = self._before, self._clock_ns()
        self._before = now_ns, rows.by_pid
        workers = []
        for own_pid, pid in running.pids.items():
            row = rows.by_pid.get(own_pid)
            if row is None:
                workers.append(without_slot(pid, running.ages[own_pid]))
            else:
                span = Span(before_ns, before.get(own_pid), now_ns)
                workers.append(worker_of(pid, row, span))
        return tuple(workers)


def take_snapshot(server: Server, seconds: float) -> Snapshot:
    """Look at a server for so many seconds, 0.1 or more. Raises InspectError."""
    looker = SnapshotTaker(server)
    looker.begin()
    for _ in range(round(seconds / SAMPLE_EVERY_S)):
        time.sleep(SAMPLE_EVERY_S)
        looker.sample()
    return looker.close()
