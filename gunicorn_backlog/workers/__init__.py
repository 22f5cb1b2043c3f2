"""How each family of worker classes is watched, and which workers the arbiter has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gunicorn_backlog.scoreboard import Kind, Scoreboard, Slot
from gunicorn_backlog.workers import sync

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import Arbiter, Worker


class Family(NamedTuple):
    """The worker classes that are watched in one way; ``names`` are those of gunicorn's bases."""

    kind: Kind
    names: frozenset[str]
    capacity: int
    watch: Callable[[Worker, Slot], None]


FAMILIES = (Family(sync.KIND, sync.CLASS_NAMES, sync.CAPACITY, sync.watch),)


def family_of(worker_class: type) -> Family | None:
    """Return the family of a class by the names of its bases, the nearest first."""
    for base in worker_class.__mro__:
        for family in FAMILIES:
            if base.__name__ in family.names and base.__module__.startswith("gunicorn.workers."):
                return family
    return None


def enter(worker: Worker, scoreboard: Scoreboard) -> Slot:
    """Claim a slot for this worker, in its own process, and watch it. Raises ScoreboardError.

    A worker of an unknown class claims a slot too: then it is known to be up, and no more.
    """
    family = family_of(type(worker))
    if family is None:
        return scoreboard.claim(worker.pid, worker.age, Kind.UNKNOWN, 0)
    slot = scoreboard.claim(worker.pid, worker.age, family.kind, family.capacity)
    family.watch(worker, slot)
    return slot


def running(arbiter: Arbiter) -> dict[int, int]:
    """Return the age of each worker that the arbiter has, by pid.

    The arbiter's main thread may change its dictionary meanwhile: ``list`` copies it in one step.
    """
    return {pid: worker.age for pid, worker in list(arbiter.WORKERS.items())}


def forked(arbiter: Arbiter) -> int:
    """Return how many workers the arbiter forked so far."""
    return arbiter.worker_age
