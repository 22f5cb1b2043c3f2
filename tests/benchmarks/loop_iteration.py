"""Benchmark of the time added to an iteration of an asyncio loop: the timed ``select``."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.workers.loops.poll_timer import SelectTimer
from tests.benchmarks.table import Table, row
from tests.benchmarks.turns import differences, in_turns, median, target

ROUNDS, QUICK_ROUNDS = 301, 31
CALLS = 2000
TARGET_NS = 600

TEXT = """\
Processor time of `select` of an `EpollSelector` with one readable socket, which returns at once.
In turns, each value the mean of 2,000 calls. With the timeout 0.1 the wrapper writes when the loop
blocks and when it runs again; with 0 the loop does not block, and the wrapper writes nothing."""


def tables(quick: bool) -> list[Table]:
    """Return the time added to a poll."""
    slot = Scoreboard(slots=2, thread_rows=8).claim(os.getpid(), 1, Kind.ASGI, 0)
    reading, writing = socket.socketpair()
    with reading, writing, selectors.EpollSelector() as selector:
        writing.send(b"x")
        selector.register(reading, selectors.EVENT_READ)
        timed = SelectTimer(slot.loop).timed(selector.select)
        rows = []
        for timeout_s in (0.1, 0.0):
            cases = {"bare": _ns(selector.select, timeout_s), "timed": _ns(timed, timeout_s)}
            ns = in_turns(cases, QUICK_ROUNDS if quick else ROUNDS)
            added = differences(ns["timed"], ns["bare"])
            note = target(median(added), TARGET_NS, "ns")
            rows.append(row(f"`select({timeout_s:g})`", "ns", ns["bare"]))
            rows.append(row(f"`select({timeout_s:g})`: the timer adds", "ns", added, note=note))
    return [Table("An iteration of an asyncio loop", TEXT, rows)]


def _ns(select: Callable[[float], object], timeout_s: float) -> Callable[[], float]:
    """Return a function that returns the nanoseconds of a call."""

    def measure() -> float:
        begin_ns = time.process_time_ns()
        for _ in range(CALLS):
            select(timeout_s)
        return (time.process_time_ns() - begin_ns) / CALLS

    return measure
