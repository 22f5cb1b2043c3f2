"""The samples of one interval, and their summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gunicorn_backlog.kernel.accept_queue import AcceptQueue
from gunicorn_backlog.sampling.cpu import CpuUsage
from gunicorn_backlog.sampling.requests import RequestSample
from gunicorn_backlog.sampling.utilization import WorkTime
from gunicorn_backlog.sampling.worker_counts import WorkerCounts
from gunicorn_backlog.scoreboard.wait_histogram import WaitSummary


class Sample(NamedTuple):
    """One sample of listeners and workers.

    queues: by listener.
    counts: of workers; None: not readable.
    work: since the last sample; None: not measured.
    forked: number of workers forked since the arbiter's start: the greatest age of a worker.
    requests: None: not known for each worker.
    """

    queues: Mapping[str, AcceptQueue]
    counts: WorkerCounts | None
    work: WorkTime | None
    forked: int
    requests: RequestSample | None = None


class BacklogSummary(NamedTuple):
    """Summary of a listener's interval.

    waiting: the backlog in each sample.
    limit: of the last sample that has this listener; None: not readable.
    deepest: greatest backlog of a single socket at the address; None without ``reuse_port``.
    """

    listener: str
    waiting: tuple[int, ...]
    limit: int | None
    deepest: int | None = None


class IntervalSummary(NamedTuple):
    """Summary of an interval; ``Window.close`` sets the fields that come from samples.

    dropped: drops by listener; without listeners whose drops the kernel does not count.
    counts: of the last sample with readable workers; None: no sample has them.
    spawned: number of workers forked in the interval.
    utilization: in percent; None: not measured.
    saturated: share of samples without a free worker, thread or event loop, in percent; None: not
        measured.
    waits: None: not measured.
    delays: of event loops; None: not measured.
    begun: requests handed to the app in the interval; None: not known for each worker.
    oldest_s: greatest age of a request in flight, in seconds; None: not known for each worker.
    stranded: greatest number of stranded requests; None: no worker has a queue of its own.
    exited: number of workers that exited in the interval, by reason; empty: not known.
    lost: connections of closed sockets, by listener; without listeners for which it is not known.
    busiest: utilization of the busiest worker, in percent; None: not measured.
    timeout_used: age of the oldest heartbeat in percent of gunicorn's timeout; None: no timeout.
    cpu: the workers' use of CPUs.
    """

    queues: tuple[BacklogSummary, ...]
    dropped: Mapping[str, int] = MappingProxyType({})
    counts: WorkerCounts | None = None
    spawned: int = 0
    utilization: float | None = None
    saturated: float | None = None
    waits: WaitSummary | None = None
    delays: WaitSummary | None = None
    begun: int | None = None
    oldest_s: float | None = None
    stranded: int | None = None
    exited: Mapping[str, int] = MappingProxyType({})
    lost: Mapping[str, int] = MappingProxyType({})
    busiest: float | None = None
    timeout_used: float | None = None
    cpu: CpuUsage = CpuUsage()


class Window:
    """Collects the samples of an interval."""

    def __init__(self, forked: int = 0) -> None:
        """Start the first interval, after ``forked`` workers were forked."""
        self._forked = forked
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Add a sample to the interval."""
        self._samples.append(sample)

    def discard(self) -> None:
        """Drop the samples of this interval, which then has no push of its own.

        Its spawned workers, drops and waits are part of the next interval's.
        """
        self._samples.clear()

    @property
    def is_empty(self) -> bool:
        """Whether the interval has no sample: then it has no summary."""
        return not self._samples

    def close(self, *, youngest: int = 0) -> IntervalSummary:
        """Return the summary of the samples, at least one, and start the next interval.

        :param youngest: age of the youngest worker that has exited; at least as many were forked.
        """
        samples, self._samples = self._samples, []
        forked, self._forked = self._forked, max(self._forked, samples[-1].forked, youngest)
        counted = [sample.counts for sample in samples if sample.counts is not None]
        saturated = [counts.saturated for counts in counted if counts.saturated is not None]
        requests = [sample.requests for sample in samples if sample.requests is not None]
        stranded = [each.stranded for each in requests if each.stranded is not None]
        return IntervalSummary(
            queues=_queues(samples),
            counts=counted[-1] if counted else None,
            spawned=self._forked - forked,
            utilization=_utilization(
                [sample.work for sample in samples if sample.work is not None]
            ),
            saturated=_percent(sum(saturated), len(saturated)),
            oldest_s=max((each.oldest_s for each in requests), default=None),
            stranded=max(stranded, default=None),
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
    """Return the worked share of the available time, between 0 and 100.

    Clipped, since ``Utilization`` reads the clock after the slots.
    """
    worked_ns = sum(work.worked_ns for work in works)
    available_ns = sum(work.available_ns for work in works)
    return _percent(min(max(0, worked_ns), available_ns), available_ns)


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None
