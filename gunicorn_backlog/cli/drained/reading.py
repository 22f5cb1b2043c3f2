"""One reading of the requests that a server has: queued, in flight, and begun until now."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.listeners import ListenerReader
from gunicorn_backlog.cli.inspect.worker_processes import WITHOUT_SLOT, Running, Workers
from gunicorn_backlog.scoreboard.kind import STATE_UNKNOWN
from gunicorn_backlog.scoreboard.worker_row import WorkerRows


class Reading(NamedTuple):
    """The requests at a time.

    at_s: CLOCK_MONOTONIC. queued: connections in the accept queues, by listener. waiting: those
    that wait for a thread of gthread. in_flight: requests in flight, by the worker's pid; without
    workers that have none. begun: requests that all workers have begun until now. unknown: one
    text for each number that can't be read.
    """

    at_s: float
    queued: Mapping[str, int]
    waiting: int
    in_flight: Mapping[int, int]
    begun: int
    unknown: tuple[str, ...] = ()

    @property
    def present(self) -> int:
        """Number of connections and requests that are queued or in flight."""
        return sum(self.queued.values()) + self.waiting + sum(self.in_flight.values())


class RequestReader:
    """Reads the requests of one server. The constructor and ``read`` raise InspectError."""

    def __init__(self, server: Server) -> None:
        clock = Clock(server.pid)
        self._server = server
        self._clock = clock
        self._listeners = ListenerReader(server.pid)
        self._workers = Workers(server, clock)

    def read(self) -> Reading:
        """Return the requests now."""
        about = self._server.server_info
        begun = self._server.memory.reader.begun()
        states = self._listeners.read(about.listeners)
        running = self._workers.running(about)
        rows = self._server.memory.reader.read(running.ages)
        unread = [f"the queue of {it.listener} ({it.why})" for it in states if it.length is None]
        return Reading(
            time.monotonic(),
            {state.listener: state.length for state in states if state.length},
            sum(row.queued for row in rows.by_pid.values()),
            {running.pids[pid]: row.in_flight for pid, row in rows.by_pid.items() if row.in_flight},
            begun,
            (*unread, *unknown_workers(running, rows, self._clock.now_ns())),
        )


def unknown_workers(running: Running, rows: WorkerRows, now_ns: int) -> Iterator[str]:
    """Yield one text for each worker whose requests are not known; a starting one has none.

    An event loop that is blocked has not read the requests on its connections.
    """
    for own_pid, pid in running.pids.items():
        row = rows.by_pid.get(own_pid)
        if row is None:
            unknown = own_pid in rows.unread or running.ages[own_pid] == WITHOUT_SLOT
        else:
            is_blocked = row.loop is not None and row.loop.late_ns(now_ns) > 0
            unknown = row.kind in STATE_UNKNOWN or is_blocked
        if unknown:
            yield f"the requests of the worker {pid}"
