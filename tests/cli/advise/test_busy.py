"""Busy workers, threads and event loops over samples of made rows."""

from __future__ import annotations

import pytest

from gunicorn_backlog.cli.advise.busy import AGES_MIN, Busy
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import LoopState, Meter
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

EVERY_NS = 20 * 10**6


class Clock:
    """A clock that goes on by a sample's time with each sample."""

    now_ns = 10**12

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns


def threads(capacity: int, claimed_ns: int = 0, oldest_ns: int | None = None) -> WorkerRow:
    """Return the row of a sync or gthread worker; with a start it is busy."""
    kind = Kind.SYNC if capacity == 1 else Kind.GTHREAD
    busy = int(oldest_ns is not None)
    counts = (busy, busy, 0, 0, busy, -(oldest_ns or 0))
    return WorkerRow(kind, 0, capacity, claimed_ns, *counts, oldest_ns)


def loop(ran_ns: int, meter: Meter) -> WorkerRow:
    """Return the row of a worker with an event loop that waits in a poll."""
    state = LoopState(ran_ns, 0, 1, meter)
    return WorkerRow(Kind.ASGI, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, 0, state)


def add(busy: Busy, clock: Clock, samples: list[dict[int, WorkerRow]]) -> None:
    """Add samples, one after the other."""
    for number, rows in enumerate(samples):
        clock.now_ns += EVERY_NS
        busy.add(rows, first=not number)


@pytest.mark.parametrize("capacity", [1, 4])
def test_the_capacity_while_a_worker_starts(capacity: int) -> None:
    """A worker without a slot in the last samples does not change the capacity."""
    clock = Clock()
    busy = Busy(clock)
    workers = {pid: threads(capacity) for pid in range(4)}
    fewer = {pid: workers[pid] for pid in range(3)}
    add(busy, clock, [workers] * 20 + [fewer] * 3)
    assert (busy.threads, busy.capacity, busy.share) == (capacity, 4 * capacity, 0)


def test_the_capacity_without_workers() -> None:
    """It is that of one worker at least, and the busy time is not measured."""
    clock = Clock()
    busy = Busy(clock)
    add(busy, clock, [{1: threads(8)}, {}, {}])
    assert (busy.threads, busy.capacity) == (8, 8)
    assert (busy.share, busy.worked_s) == (None, None)


def test_a_busy_thread() -> None:
    """One of two workers is busy all the time; the mean of its ages counts from AGES_MIN on."""
    clock = Clock()
    busy = Busy(clock)
    rows = {1: threads(1, oldest_ns=clock.now_ns), 2: threads(1)}
    add(busy, clock, [rows] * AGES_MIN)
    assert busy.age_ms is None
    clock.now_ns += EVERY_NS
    busy.add(rows)
    assert busy.age_ms == pytest.approx((2 + AGES_MIN + 1) / 2 * 20)
    assert busy.share == 0.5
    assert busy.worked_s == pytest.approx(AGES_MIN * 0.02)


def test_event_loops() -> None:
    """Measured loops have a share; a loop that has not started yet is left out."""
    clock = Clock()
    busy = Busy(clock)
    starting = loop(0, Meter.NONE)
    samples = [{1: loop(number * EVERY_NS // 4, Meter.EXACT), 2: starting} for number in range(5)]
    add(busy, clock, samples)
    assert (busy.threads, busy.capacity, busy.share) == (0, 0, 0.25)


@pytest.mark.parametrize("meters", [(Meter.ABSENT,), (Meter.NONE,), (Meter.EXACT, Meter.ABSENT)])
def test_unmeasured_loops(meters: tuple[Meter, ...]) -> None:
    """The share is absent, not 0, if a loop can't be measured, or if none has been."""
    clock = Clock()
    busy = Busy(clock)
    add(busy, clock, [{pid: loop(0, meter) for pid, meter in enumerate(meters)}] * 5)
    assert (busy.share, busy.worked_s) == (None, None)
