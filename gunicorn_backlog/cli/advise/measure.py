"""Measures a running server for some time; only reads its shared memory, ``/proc`` and queues.

The state is sampled at random times, 50 times a second on average: a regular grid could meet the
same phase of a periodic load each time. Processes and queues are read once per second.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress

from gunicorn_backlog.cli.advise.measured import LoopUse, Measured, PoolUse, Shares, Waits
from gunicorn_backlog.cli.advise.model import Goal, variability
from gunicorn_backlog.cli.advise.pools import Pools
from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.cpus import cpus
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.listeners import ListenerReader
from gunicorn_backlog.cli.inspect.worker_processes import Running, Workers
from gunicorn_backlog.sampling.cpu import CpuClocks, CpuWaits
from gunicorn_backlog.sampling.drops import Drops
from gunicorn_backlog.sampling.loops import delay_summary
from gunicorn_backlog.sampling.utilization import Utilization
from gunicorn_backlog.scoreboard.kind import STATE_UNKNOWN
from gunicorn_backlog.scoreboard.wait_histogram import (
    BUCKETS,
    HistogramDelta,
    WaitsError,
    WaitSummary,
    bucket_of,
    summarize,
)
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

SAMPLE_EVERY_S = 0.02
READ_EVERY_S = 1.0
AGES_MIN = 30  # ages of requests in flight from which their mean counts


class _Busy:
    """Busy workers, threads or loops: time worked, and ages of the requests in flight."""

    def __init__(self, clock: Clock) -> None:
        self._now_ns = clock.now_ns
        self._utilization = Utilization(clock_ns=clock.now_ns)
        self._pools = Pools()
        self.worked_ns = self.available_ns = 0
        self._age_ns = self._ages = 0

    def add(self, rows: Mapping[int, WorkerRow], *, first: bool = False) -> None:
        """Add a sample."""
        work = self._utilization.update(rows)
        if first:
            return
        self.worked_ns += work.worked_ns
        self.available_ns += work.available_ns
        now_ns = self._now_ns()
        for row in rows.values():
            starts_ns = row.starts_ns or ((row.oldest_ns,) if row.oldest_ns else ())
            self._age_ns += sum(max(0, now_ns - start_ns) for start_ns in starts_ns)
            self._ages += len(starts_ns)
        self._pools.add(rows)

    @property
    def age_ms(self) -> float | None:
        """The mean age; None after too few."""
        return self._age_ns / self._ages / 1e6 if self._ages >= AGES_MIN else None

    def pools(self) -> dict[str, PoolUse]:
        """The pools of threads behind the loops."""
        return self._pools.use()


class _Processors:
    """The workers' CPU time and waits for CPUs, per worker."""

    def __init__(self) -> None:
        self._clocks, self._waits = CpuClocks(), CpuWaits()
        self._used_ns = self._used_of_ns = self._waited_ns = self._waited_of_ns = 0

    def add(self, pids: set[int]) -> None:
        """Read the running workers."""
        self._clocks.add(pids)
        used, waited = self._clocks.update(pids), self._waits.update(pids)
        self._used_ns, self._used_of_ns = self._used_ns + used[0], self._used_of_ns + used[1]
        self._waited_ns += waited.spent_ns
        self._waited_of_ns += waited.elapsed_ns

    def per_worker(self) -> tuple[float, float] | None:
        """Return the CPUs used and waited for, mean per worker; None: not measured."""
        if not self._used_of_ns:
            return None
        waited = self._waited_ns / self._waited_of_ns if self._waited_of_ns else 0.0
        return self._used_ns / self._used_of_ns, waited


class _Queues:
    """Connections in the accept queues, and those that the kernel dropped."""

    def __init__(self, server: Server) -> None:
        self._listeners = ListenerReader(server.pid)
        self._drops: dict[str, Drops] = {}
        self.first: int | None = None
        self.last = 0
        self.dropped = 0

    def add(self, server: Server, rows: Mapping[int, WorkerRow]) -> None:
        """Read all queues, with those before gthread's threads."""
        states = self._listeners.read(server.server_info.listeners)
        queued = sum(state.length or 0 for state in states)
        self.last = queued + sum(row.queued for row in rows.values())
        self.first = self.last if self.first is None else self.first
        for state in states:
            if state.drops is not None:
                drops = self._drops.setdefault(state.listener, Drops())
                drops.add(state.drops)
                self.dropped += drops.take() if drops.begun else 0


class Measurement:
    """Measures one server. The constructor and ``run`` raise InspectError."""

    def __init__(self, server: Server) -> None:
        try:
            clock = Clock(server.pid)
        except OSError:
            raise EndedError(server.pid) from None
        self._server, self._clock = server, clock
        self._workers = Workers(server, clock)
        self._busy, self._processors, self._queues = _Busy(clock), _Processors(), _Queues(server)
        self._running = Running({}, {})
        self._rows: Mapping[int, WorkerRow] = {}
        reader = server.memory.reader
        self._waits, self._delays = HistogramDelta(reader.waits()), HistogramDelta(reader.delays())
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
        self._processors.add(set(self._running.pids.values()))
        self._queues.add(self._server, self._rows)

    def _check_kinds(self) -> None:
        if not self._rows or any(row.kind in STATE_UNKNOWN for row in self._rows.values()):
            raise InspectError(
                "the states of the workers are not known: run gunicorn-backlog check"
            )

    def _measured(self, seconds: float, goal: Goal) -> Measured:
        reader, about, busy = self._server.memory.reader, self._server.server_info, self._busy
        requests = reader.begun() - self._begun
        load = max(0, busy.worked_ns) / 1e9 / seconds
        service_ms = max(0, busy.worked_ns) / 1e6 / max(1, requests)
        age_ms = busy.age_ms
        per_worker, workers = self._processors.per_worker(), len(self._running.pids)
        used, waited = per_worker or (0.0, 0.0)
        return Measured(
            seconds=seconds,
            worker_class=about.worker_class,
            workers=workers,
            capacity=sum(row.capacity for row in self._rows.values()),
            requests=requests,
            load=load,
            service_ms=service_ms,
            variability=variability(age_ms, service_ms) if age_ms and service_ms else None,
            busy=min(1.0, max(0, busy.worked_ns) / busy.available_ns) if busy.available_ns else 0.0,
            queue=(self._queues.first or 0, self._queues.last),
            dropped=self._queues.dropped,
            cpu_load=used * workers,
            cpu_share=used,
            shares=_shares(used * workers, waited * workers, load) if per_worker else None,
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
        except WaitsError:
            return None
        counters = list(since) or [0] * BUCKETS
        longer = sum(counters[bucket_of(round(goal.wait_ms)) + 1 :])
        return Waits(summarize(counters), longer / max(1, sum(counters)))

    def _loops(self) -> LoopUse | None:
        if not any(row.loop is not None for row in self._rows.values()):
            return None
        delays: WaitSummary | None = None
        with suppress(WaitsError):
            since = self._delays.difference(self._server.memory.reader.delays())
            delays = delay_summary(since, self._rows, self._clock.now_ns())
        return LoopUse(delays, self._busy.pools())


def _shares(used: float, waited: float, load: float) -> Shares | None:
    """Return the parts of the busy time; clipped, since CPU time is also used between requests."""
    if load <= 0:
        return None
    whole = max(load, used + waited)
    return Shares(used / whole, waited / whole, 1 - (used + waited) / whole)
