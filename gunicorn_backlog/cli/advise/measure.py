"""Measures a running server for some time; only reads its shared memory, ``/proc`` and queues.

The state is sampled at random times, 50 times a second on average: a regular grid could meet the
same phase of a periodic load each time. Processes and queues are read once per second.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress

from gunicorn_backlog.cli.advise.busy import Busy
from gunicorn_backlog.cli.advise.measured import LoopUse, Measured, Shares, Waits
from gunicorn_backlog.cli.advise.model import Goal, variability
from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.cpus import cpus
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.listener_samples import ListenerSamples
from gunicorn_backlog.cli.inspect.worker_processes import Running, Workers
from gunicorn_backlog.sampling.cpu import CpuMeter
from gunicorn_backlog.sampling.loops import delay_summary
from gunicorn_backlog.scoreboard.kind import STATE_UNKNOWN
from gunicorn_backlog.scoreboard.wait_histogram import (
    BUCKETS,
    CounterDelta,
    CounterError,
    WaitSummary,
    bucket_of,
    summarize,
)
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

SAMPLE_EVERY_S = 0.02
READ_EVERY_S = 1.0


class Measurement:
    """Measures one server. The constructor and ``run`` raise InspectError."""

    def __init__(self, server: Server) -> None:
        clock = Clock(server.pid)
        self._server, self._clock = server, clock
        self._workers = Workers(server, clock)
        self._busy, self._cpu = Busy(clock.now_ns), CpuMeter(every_ns=0)
        self._listeners = ListenerSamples(server.pid)
        self._queued: list[int] = []  # connections, at each reading
        self._dropped = 0
        self._running = Running({}, {})
        self._rows: Mapping[int, WorkerRow] = {}
        reader = server.memory.reader
        self._waits, self._delays = CounterDelta(reader.waits()), CounterDelta(reader.delays())
        self._begun = 0

    def run(self, seconds: float, goal: Goal) -> Measured:
        """Measure for ``seconds``."""
        self._read_processes()
        self._check_kinds()
        self._busy.add(self._rows, first=True)
        self._begun = self._server.memory.reader.begun()
        began_s = read_s = time.monotonic()
        while (now_s := time.monotonic()) < began_s + seconds:
            if now_s >= read_s + READ_EVERY_S:
                read_s = now_s
                self._read_processes()
            time.sleep(min(random.uniform(0, 2 * SAMPLE_EVERY_S), began_s + seconds - now_s))
            self._sample()
        self._read_processes()
        self._server.check_alive()
        return self._measured(time.monotonic() - began_s, goal)

    def _sample(self) -> None:
        rows = self._server.memory.reader.read(self._running.ages)
        if not rows.unread:
            self._rows = rows.by_pid
            self._busy.add(rows.by_pid)

    def _read_processes(self) -> None:
        self._running = self._workers.running(self._server.server_info)
        self._rows = self._server.memory.reader.read(self._running.ages).by_pid
        pids = set(self._running.pids.values())
        self._cpu.add(pids)
        self._cpu.update(pids)
        self._listeners.sample(self._server.server_info.listeners)
        listeners = self._listeners.close()
        queued = sum(listener.latest.length or 0 for listener in listeners)
        self._queued.append(queued + sum(row.queued for row in self._rows.values()))
        self._dropped += sum(listener.dropped or 0 for listener in listeners)

    def _check_kinds(self) -> None:
        if not self._rows or any(row.kind in STATE_UNKNOWN for row in self._rows.values()):
            raise InspectError(
                "the states of the workers are not known: run gunicorn-backlog check"
            )

    def _measured(self, seconds: float, goal: Goal) -> Measured:
        reader, about, busy = self._server.memory.reader, self._server.server_info, self._busy
        requests = reader.begun() - self._begun
        worked_s, age_ms = busy.worked_s, busy.age_ms
        load = None if worked_s is None else worked_s / seconds
        service_ms = None if worked_s is None else worked_s * 1e3 / max(1, requests)
        used, workers = self._cpu.used.share, len(self._running.pids)
        return Measured(
            seconds=seconds,
            worker_class=about.worker_class,
            workers=workers,
            threads=busy.threads,
            capacity=busy.capacity,
            requests=requests,
            load=load,
            service_ms=service_ms,
            variability=variability(age_ms, service_ms) if age_ms and service_ms else None,
            busy=busy.share,
            queue=(self._queued[0], self._queued[-1]),
            dropped=self._dropped,
            cpu_load=None if used is None else used * workers,
            cpu_share=used,
            shares=shares(used, self._cpu.waited.share, workers, load),
            cpus=self._cpus(),
            waits=self._measured_waits(goal),
            loops=self._loops(),
        )

    def _cpus(self) -> float:
        for pid in (*self._running.pids.values(), self._server.pid):
            with suppress(OSError):
                return cpus(pid)
        raise EndedError(self._server.pid)

    def _measured_waits(self, goal: Goal) -> Waits | None:
        if not any(row.measures_wait for row in self._rows.values()):
            return None
        try:
            since = self._waits.difference(self._server.memory.reader.waits())
        except CounterError:
            return None
        counters = list(since) or [0] * BUCKETS
        longer = sum(counters[bucket_of(round(goal.wait_ms)) + 1 :])
        return Waits(summarize(counters), longer / max(1, sum(counters)))

    def _loops(self) -> LoopUse | None:
        if self._busy.threads:
            return None
        delays: WaitSummary | None = None
        with suppress(CounterError):
            since = self._delays.difference(self._server.memory.reader.delays())
            delays = delay_summary(since, self._rows, self._clock.now_ns())
        return LoopUse(delays, self._busy.pools())


def shares(
    used: float | None, waited: float | None, workers: int, load: float | None
) -> Shares | None:
    """Return the parts of the busy time; clipped, since CPU time is also used between requests.

    :param used: CPU time per time, mean per worker; None: not measured.
    :param waited: time of waits for a CPU, likewise.
    """
    if used is None or waited is None or not load:
        return None
    used, waited = used * workers, waited * workers
    whole = max(load, used + waited)
    return Shares(used / whole, waited / whole, 1 - (used + waited) / whole)
