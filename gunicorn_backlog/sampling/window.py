"""The samples of one interval, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.sampling.utilization import WorkTime
from gunicorn_backlog.sampling.worker_counts import WorkerCounts
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary


class Sample(NamedTuple):
    """One look at everything.

    ``work`` is the time since the look before; ``forked`` counts workers since the start.
    """

    queues: Mapping[str, AcceptQueue]  # by listener
    counts: WorkerCounts | None
    work: WorkTime | None
    forked: int


class BacklogSummary(NamedTuple):
    """One listener's interval: each sample's ``waiting``, and the ``limit`` seen last.

    A ``limit`` of None could not be read. ``deepest`` is the greatest length of a single queue
    among those of an address with ``reuse_port``, else None.
    """

    listener: str
    waiting: tuple[int, ...]
    limit: int | None
    deepest: int | None = None


class IntervalSummary(NamedTuple):
    """What the samples of one interval come to; ``counts`` is the last one that could be read.

    ``dropped`` are connections, by listener: only of those that count them. ``utilization`` and
    ``saturated`` are percent; None: they can't be told.
    """

    queues: tuple[BacklogSummary, ...]
    dropped: Mapping[str, int]
    counts: WorkerCounts | None
    spawned: int
    utilization: float | None = None
    saturated: float | None = None
    waits: WaitSummary | None = None


class Window:
    """Takes in samples until the interval is closed; then begins the next.

    ``forked`` is the number of workers that were forked before the first interval.
    """

    def __init__(self, forked: int = 0) -> None:
        self._forked = forked
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Take in one sample."""
        self._samples.append(sample)

    def discard(self) -> None:
        """Forget the samples of the interval under way; workers that were forked in it count on."""
        self._samples.clear()

    def close(
        self, dropped: Mapping[str, int], waits: WaitSummary | None = None
    ) -> IntervalSummary | None:
        """Return the interval's totals and begin the next; None if nothing was sampled.

        ``dropped`` are the connections that each listener dropped in the interval, ``waits`` how
        long the requests of the interval waited.
        """
        samples, self._samples = self._samples, []
        if not samples:
            return None
        forked, self._forked = self._forked, samples[-1].forked
        counted = [sample.counts for sample in samples if sample.counts is not None]
        return IntervalSummary(
            queues=_queues(samples),
            dropped=dropped,
            counts=counted[-1] if counted else None,
            spawned=self._forked - forked,
            utilization=_utilization([it.work for it in samples if it.work is not None]),
            waits=waits,
            saturated=_saturated([it.saturated for it in counted if it.saturated is not None]),
        )


def _queues(samples: Sequence[Sample]) -> tuple[BacklogSummary, ...]:
    seen: dict[str, list[AcceptQueue]] = {}
    for sample in samples:
        for listener, queue in sample.queues.items():
            seen.setdefault(listener, []).append(queue)
    return tuple(_queue(listener, queues) for listener, queues in seen.items())


def _queue(listener: str, queues: Sequence[AcceptQueue]) -> BacklogSummary:
    longest = [queue.max_length for queue in queues if queue.max_length is not None]
    return BacklogSummary(
        listener=listener,
        waiting=tuple(queue.length for queue in queues),
        limit=queues[-1].limit,
        deepest=max(longest, default=None),
    )


def _utilization(works: Sequence[WorkTime]) -> float | None:
    """Return the share of the available time; a look at work under way may be some ns off."""
    worked_ns = sum(work.worked_ns for work in works)
    available_ns = sum(work.available_ns for work in works)
    return _percent(min(max(0, worked_ns), available_ns), available_ns)


def _saturated(samples: Sequence[bool]) -> float | None:
    return _percent(sum(samples), len(samples))


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None
