"""utilization: the difference between two samples of workers."""

from __future__ import annotations

from gunicorn_backlog.sampling.utilization import Utilization, WorkTime
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.worker_row import WorkerRow


class Clock:
    """A clock that the test sets."""

    now_ns = 1000

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns


def worker(claimed_ns: int, worked_ns: int, in_use: int = 0, capacity: int = 1) -> WorkerRow:
    """Return a state; ``worked_ns`` is the time worked at 0."""
    return WorkerRow(
        Kind.SYNC, False, capacity, claimed_ns, in_use, in_use, 0, 0, in_use, worked_ns
    )


def test_a_request_longer_than_the_time_between_samples() -> None:
    """The worker is busy in each sample until the end: 100 %, not 0 and then the whole time."""
    clock = Clock()
    utilization = Utilization(clock_ns=clock)
    busy_since_1100 = worker(claimed_ns=1000, worked_ns=-1100, in_use=1)
    works = []
    for clock.now_ns in (1200, 1300, 1400):
        works.append(utilization.update({1: busy_since_1100}))
    clock.now_ns = 1500
    works.append(utilization.update({1: worker(claimed_ns=1000, worked_ns=350)}))
    assert works == [WorkTime(100, 200), WorkTime(100, 100), WorkTime(100, 100), WorkTime(50, 100)]


def test_threads_count_each() -> None:
    """The time of a pool is the sum over its threads."""
    clock = Clock()
    utilization = Utilization(clock_ns=clock)
    clock.now_ns = 1100
    pool = worker(claimed_ns=1000, worked_ns=-2 * 1000, in_use=2, capacity=4)
    assert utilization.update({1: pool}) == WorkTime(200, 400)


def test_workers_that_come_and_go() -> None:
    """A worker counts from its claim; a dead one is left out, also if the pid is reused."""
    clock = Clock()
    utilization = Utilization(clock_ns=clock)
    clock.now_ns = 1100
    utilization.update({1: worker(1000, 50), 2: worker(1000, 70)})
    clock.now_ns = 1200
    work = utilization.update({1: worker(1000, 90), 2: worker(1150, 20)})
    assert work == WorkTime(40 + 20, 100 + 50)


def test_a_worker_that_was_not_in_the_last_sample() -> None:
    """The work before the first sample of a worker belongs to no interval."""
    clock = Clock()
    utilization = Utilization(clock_ns=clock)
    clock.now_ns = 1100
    assert utilization.update({1: worker(500, 400)}) == WorkTime(0, 0)
    clock.now_ns = 1200
    assert utilization.update({1: worker(500, 430)}) == WorkTime(30, 100)


def test_two_samples_of_the_same_workers() -> None:
    """Work before the first sample does not count, nor that of a request in flight."""
    clock = Clock()
    utilization = Utilization(clock_ns=clock)
    clock.now_ns = 1100
    first = {1: worker(1000, 40), 2: worker(1000, -1050, in_use=1, capacity=3)}
    utilization.update(first)
    clock.now_ns = 1200
    second = {1: worker(1000, 60), 2: worker(1000, 80, capacity=3)}
    assert utilization.update(second) == WorkTime(20 + 30, (1 + 3) * 100)
    clock.now_ns = 1300
    third = {1: worker(1000, 60), 2: worker(1000, 80 - 1250, in_use=1, capacity=3)}
    assert utilization.update(third) == WorkTime(50, (1 + 3) * 100)
