"""schedule: a fixed grid of samples, with a clock set by the test."""

from __future__ import annotations

import pytest

from gunicorn_backlog.arbiter.schedule import Schedule


class Clock:
    """A clock that stands still; ``now_s`` is its time."""

    now_s = 1000.0

    def __call__(self) -> float:
        """Return ``now_s``."""
        return self.now_s


def test_an_interval_ends_with_its_last_sample() -> None:
    """Ten samples, a tenth of the interval apart: the tenth ends the interval."""
    clock = Clock()
    schedule = Schedule(2.0, 10, clock=clock)
    closed = []
    for _ in range(30):
        assert schedule.wait_s() == pytest.approx(0.2)
        clock.now_s += schedule.wait_s()
        closed.append(schedule.sampled())
    assert closed == ([False] * 9 + [True]) * 3


def test_late_samples_do_not_move_the_grid() -> None:
    """Each sample takes half a period: the next one still has its time of the grid."""
    clock = Clock()
    schedule = Schedule(1.0, 10, clock=clock)
    for number in range(1, 100):
        clock.now_s += schedule.wait_s()
        assert clock.now_s == pytest.approx(1000 + number * 0.1)
        clock.now_s += 0.05
        schedule.sampled()


def test_after_a_long_stop_missed_samples_are_skipped() -> None:
    """Stopped for 30 s: the current interval ends at once, and the next is complete."""
    clock = Clock()
    schedule = Schedule(1.0, 10, clock=clock)
    clock.now_s += 30.05
    assert schedule.wait_s() == 0.0
    assert schedule.sampled()
    assert schedule.wait_s() == pytest.approx(0.05)
    closed = []
    for _ in range(10):
        clock.now_s += schedule.wait_s()
        closed.append(schedule.sampled())
    assert closed == [False] * 9 + [True]
