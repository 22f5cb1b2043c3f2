"""The utilization of the busiest worker, of rows with known times."""

from __future__ import annotations

from gunicorn_backlog.sampling.busiest import Busiest
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import LoopState, Meter
from gunicorn_backlog.scoreboard.worker_row import WorkerRow

S = 10**9


def sync(worked_s: float, *, claimed_s: float = 0, capacity: int = 1) -> WorkerRow:
    """Return the row of an idle worker that has worked so long."""
    kind = int(Kind.SYNC)
    return WorkerRow(kind, 0, capacity, int(claimed_s * S), 0, 0, 0, 0, 0, int(worked_s * S))


def loop(ran_s: float, meter: Meter = Meter.EXACT) -> WorkerRow:
    """Return the row of an idle worker whose loop has run so long."""
    state = LoopState(int(ran_s * S), 0, 0, meter)
    return WorkerRow(int(Kind.ASGI), 0, 0, 0, 0, 0, 0, 0, 0, 0, loop=state)


def test_the_greatest_share_of_an_interval() -> None:
    """Each interval counts from the end of the former; capacity divides; the first is unknown."""
    busiest = Busiest(10 * S)
    busiest.sample({1: sync(5), 2: sync(5, capacity=2), 3: loop(3)}, 11 * S)
    assert busiest.take(11 * S) is None
    busiest.sample({1: sync(5.2), 2: sync(6.5, capacity=2), 3: loop(3.25)}, 12 * S)
    assert busiest.take(12 * S) == 75
    busiest.sample({1: sync(5.3), 2: sync(6.5, capacity=2), 3: loop(4.25)}, 13 * S)
    assert busiest.take(13 * S) == 100
    assert busiest.take(14 * S) is None


def test_workers_that_lived_shorter_than_half_do_not_count() -> None:
    """A dead worker counts until its last sample, a new one from its slot's allocation on."""
    busiest = Busiest(0)
    busiest.sample({1: sync(0, claimed_s=0)}, 1 * S)
    busiest.take(1 * S)
    busiest.sample({1: sync(0.4)}, int(1.4 * S))
    assert busiest.take(2 * S) is None
    busiest.sample({2: sync(0.3, claimed_s=2.2)}, int(2.8 * S))
    assert busiest.take(3 * S) == 50
    busiest.sample({2: sync(0.9, claimed_s=3.9)}, 4 * S)  # the pid's next owner
    assert busiest.take(4 * S) is None


def test_loops_that_are_not_measured() -> None:
    """Without a meter a loop has no utilization."""
    busiest = Busiest(0)
    for second in (1, 2):
        busiest.sample({1: loop(second, Meter.NONE), 2: loop(second, Meter.ABSENT)}, second * S)
        assert busiest.take(second * S) is None
