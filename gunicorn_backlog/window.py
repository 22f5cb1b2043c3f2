"""The samples of one interval, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gunicorn_backlog.listeners import Backlog
from gunicorn_backlog.roster import Crew


@dataclass(frozen=True)
class Sample:
    """One look at everything; ``forked`` is the number of workers forked since the start."""

    backlogs: Sequence[Backlog]
    crew: Crew | None
    forked: int


@dataclass(frozen=True)
class Queue:
    """One listener's interval: each sample's ``waiting``, and the ``limit`` seen last."""

    listener: str
    waiting: tuple[int, ...]
    limit: int


@dataclass(frozen=True)
class Interval:
    """What the samples of one interval come to; ``crew`` is the last one that could be read."""

    queues: tuple[Queue, ...]
    crew: Crew | None
    spawned: int


@dataclass
class Window:
    """Takes in samples until the interval is closed; then begins the next."""

    _forked: int = 0
    _samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Take in one sample."""
        self._samples.append(sample)

    def close(self) -> Interval | None:
        """Return the interval's totals and begin the next; None if nothing was sampled."""
        samples, self._samples = self._samples, []
        if not samples:
            return None
        forked, self._forked = self._forked, samples[-1].forked
        crews = [sample.crew for sample in samples if sample.crew is not None]
        return Interval(
            queues=_queues(samples),
            crew=crews[-1] if crews else None,
            spawned=self._forked - forked,
        )


def _queues(samples: Sequence[Sample]) -> tuple[Queue, ...]:
    waiting: dict[str, list[int]] = {}
    limits: dict[str, int] = {}
    for sample in samples:
        for backlog in sample.backlogs:
            waiting.setdefault(backlog.listener, []).append(backlog.waiting)
            limits[backlog.listener] = backlog.limit
    return tuple(Queue(name, tuple(waiting[name]), limit) for name, limit in limits.items())
