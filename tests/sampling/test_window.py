"""window: the samples of an interval, and their totals."""

from __future__ import annotations

from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.sampling.utilization import WorkTime
from gunicorn_backlog.sampling.window import BacklogSummary, IntervalSummary, Sample, Window
from gunicorn_backlog.sampling.worker_counts import WorkerCounts

IDLE = WorkerCounts(idle=2, working=0, starting=0, unknown=0, in_flight=0)
BUSY = WorkerCounts(idle=0, working=2, starting=0, unknown=0, in_flight=2)


def test_totals_of_an_interval() -> None:
    """Every sample of each listener, the last limit and workers, and the forks between samples."""
    window = Window()
    window.add(Sample({"a": AcceptQueue(1, 10), "b": AcceptQueue(5, 10)}, IDLE, None, 2))
    window.add(Sample({"a": AcceptQueue(3, 20), "b": AcceptQueue(0, 10)}, BUSY, None, 5))

    assert window.close() == IntervalSummary(
        (BacklogSummary("a", (1, 3), 20), BacklogSummary("b", (5, 0), 10)), {}, BUSY, 5
    )

    window.add(Sample({"a": AcceptQueue(0, 20)}, IDLE, None, 6))
    assert window.close() == IntervalSummary((BacklogSummary("a", (0,), 20),), {}, IDLE, 1)


def test_workers_that_could_not_be_read_are_those_read_before() -> None:
    """One torn slot leaves no hole: the interval's last good sample counts."""
    window = Window()
    window.add(Sample({}, BUSY, None, 2))
    window.add(Sample({}, None, None, 2))
    interval = window.close()
    assert interval.counts == BUSY


def test_an_interval_that_is_begun_anew() -> None:
    """New settings drop the samples of the former settings; forks stay counted."""
    window = Window(forked=3)
    window.add(Sample({"a": AcceptQueue(9, 10)}, BUSY, None, 5))
    window.discard()
    window.add(Sample({"a": AcceptQueue(0, 10)}, IDLE, None, 6))
    assert window.close() == IntervalSummary((BacklogSummary("a", (0,), 10),), {}, IDLE, 3)


def test_nothing_readable_is_nothing_said() -> None:
    """Without a good sample there are no workers; without any sample, no interval."""
    window = Window()
    window.add(Sample({}, None, None, 0))
    assert window.close() == IntervalSummary((), {}, None, 0)
    assert window.is_empty


def test_the_deepest_queue_of_the_interval() -> None:
    """For an address with several queues the longest queue of all samples is kept."""
    window = Window()
    window.add(Sample({"a": AcceptQueue(9, 30, max_length=8, min_limit=10)}, IDLE, None, 0))
    window.add(Sample({"a": AcceptQueue(9, 20, max_length=5, min_limit=10)}, IDLE, None, 0))
    assert window.close() == IntervalSummary((BacklogSummary("a", (9, 9), 20, 8),), {}, IDLE, 0)


def test_utilization_is_integrated() -> None:
    """Utilization is worked time divided by available time; failed samples are left out."""
    window = Window()
    window.add(Sample({}, None, WorkTime(0, 100), 0))
    window.add(Sample({}, None, None, 0))
    window.add(Sample({}, None, WorkTime(100, 200), 0))
    interval = window.close()
    assert interval.utilization == 33.33


def test_utilization_stays_within_its_bounds() -> None:
    """A request under way may be some nanoseconds off: the share stays between 0 and 100."""
    for worked_ns, percent in ((-5, 0.0), (1005, 100.0)):
        window = Window()
        window.add(Sample({}, None, WorkTime(worked_ns, 1000), 0))
        interval = window.close()
        assert interval.utilization == percent


def test_saturated_is_a_share_of_the_samples() -> None:
    """The share is that of samples with known capacity; None without such a sample."""
    window = Window()
    for saturated in (True, None, False, True):
        window.add(Sample({}, BUSY._replace(saturated=saturated), None, 0))
    interval = window.close()
    assert interval.saturated == 66.67
    window.add(Sample({}, BUSY, None, 0))
    interval = window.close()
    assert (interval.saturated, interval.utilization) == (None, None)
