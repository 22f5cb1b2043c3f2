"""loops: running time, full loops and delays between two samples of event loops."""

from __future__ import annotations

import pytest

from gunicorn_backlog.sampling.loops import Loops, LoopWork, delay_summary
from gunicorn_backlog.sampling.utilization import Utilization, WorkTime
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import BEAT_EVERY_NS, LoopState, Meter
from gunicorn_backlog.scoreboard.wait_histogram import BUCKETS
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

MS = 10**6


def worker(loop: LoopState | None, claimed_ns: int = 0, in_flight: int = 0) -> WorkerRow:
    """Return the row of a worker."""
    kind = Kind.SYNC if loop is None else Kind.ASGI
    capacity = 1 if loop is None else 0
    busy = (in_flight, in_flight, 0, 0, 0, 0, None, 0)
    return WorkerRow(kind, 0, capacity, claimed_ns, *busy, loop)


def exact(work_ns: int, since_ns: int = 0) -> LoopState:
    """Return a loop whose iterations are measured; with a start the loop runs."""
    return LoopState(work_ns - since_ns, since_ns, 1, Meter.EXACT)


def by_beat(work_ns: int, beat_ns: int) -> LoopState:
    """Return a loop that is measured by beats."""
    return LoopState(work_ns, 0, beat_ns, Meter.BEAT)


def test_a_block_longer_than_the_time_between_samples() -> None:
    """Each sample within the block adds the time since the former; the loop is not free."""
    loops = Loops()
    works = []
    for loop, now_ns in (
        (exact(0), 100),
        (exact(0, since_ns=150), 200),
        (exact(0, since_ns=150), 300),
        (exact(190), 400),
    ):
        works.append(loops.update({1: worker(loop)}, now_ns - 100, now_ns))
    assert works == [
        LoopWork(0, 100, frozenset()),
        LoopWork(50, 100, frozenset()),
        LoopWork(100, 100, frozenset({1})),
        LoopWork(40, 100, frozenset()),
    ]


def test_a_loop_is_full_from_95_percent_on() -> None:
    """Two workers: the one that ran 94 of 100 ns is free."""
    loops = Loops()
    loops.update({1: worker(exact(0)), 2: worker(exact(0))}, 0, 100)
    work = loops.update({1: worker(exact(94)), 2: worker(exact(95))}, 100, 200)
    assert work == LoopWork(189, 200, frozenset({2}))


def test_beats() -> None:
    """Without a new beat nothing is added, and the loop stays as full as before."""
    loops = Loops()
    at = [BEAT_EVERY_NS * number for number in range(6)]
    first = worker(by_beat(0, at[1]))
    assert loops.update({1: first}, at[0], at[1] + 5).full == frozenset()
    full = worker(by_beat(97 * MS, at[2]))
    assert loops.update({1: full}, at[1] + 5, at[2] + 5) == LoopWork(97 * MS, at[1], frozenset({1}))
    assert loops.update({1: full}, at[2] + 5, at[2] + 9) == LoopWork(0, 0, frozenset({1}))
    blocked = loops.update({1: full}, at[2] + 9, at[4])
    assert blocked == LoopWork(at[2], at[2], frozenset({1}))
    # The beat came late, but the loop had run for 10 ms only.
    late = loops.update({1: worker(by_beat(107 * MS, at[5]))}, at[4], at[5] + 1)
    assert late == LoopWork(10 * MS - at[2], at[1], frozenset())


def test_workers_that_come_and_go() -> None:
    """A worker counts from its allocation; one that was not in the last sample from this one."""
    loops = Loops()
    assert loops.update({1: worker(exact(40), 500)}, 1000, 1100).elapsed_ns == 0
    new = {1: worker(exact(60), 500), 2: worker(exact(5), 1150)}
    assert loops.update(new, 1100, 1200) == LoopWork(20 + 5, 100 + 50, frozenset())
    reused = {1: worker(exact(7), 1250)}
    assert loops.update(reused, 1200, 1300) == LoopWork(7, 50, frozenset())


@pytest.mark.parametrize("meter", [Meter.NONE, Meter.ABSENT])
def test_a_loop_that_is_not_measured(meter: Meter) -> None:
    """Neither its time nor its availability counts."""
    rows = {1: worker(LoopState(0, 0, 0, meter))}
    loops = Loops()
    loops.update(rows, 0, 100)
    assert loops.update(rows, 100, 200) == LoopWork(0, 0, frozenset())


def test_loops_and_other_workers_add_up() -> None:
    """After a reload with another class both kinds of workers run for a while."""
    clock = iter((1000, 1100, 1200)).__next__
    utilization = Utilization(clock_ns=clock)
    utilization.update({1: worker(exact(0), 500), 2: worker(None, 500)})
    work = utilization.update({1: worker(exact(96), 500), 2: worker(None, 500)})
    assert work == WorkTime(96, 200)
    assert utilization.full_loops == {1}


def test_delays_of_an_interval() -> None:
    """A block that lasts counts once for each beat that is overdue, on top of the beats made."""
    now_ns = 10**10
    beats = [0] * BUCKETS
    beats[1] = 9
    rows = {
        1: worker(by_beat(0, now_ns - BEAT_EVERY_NS - 250 * MS)),
        2: worker(by_beat(0, now_ns - BEAT_EVERY_NS - 19 * MS)),  # may be a late wake-up
        3: worker(None),
    }
    delays = delay_summary(beats, rows, now_ns)
    assert delays is not None
    assert delays.requests == 9 + 3
    assert delays.longest_ms == pytest.approx(250, rel=0.031)
    assert delays.average_ms == pytest.approx((9 + 250 + 150 + 50) / 12, rel=0.031)
    idle = delay_summary((), {2: rows[2]}, now_ns)
    assert idle is not None
    assert (idle.requests, idle.longest_ms) == (0, 0)


def test_without_a_beat_there_is_no_delay() -> None:
    """Neither of sync workers nor of a loop that has not started."""
    assert delay_summary((), {1: worker(None), 2: worker(by_beat(0, 0))}, 10**10) is None
