"""The arbiter's workers by state, from what their slots say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from operator import ge, sub
from typing import NamedTuple

from gunicorn_backlog.owners import Owners
from gunicorn_backlog.slot import BOUNDED, POOL, Kind
from gunicorn_backlog.states import States


class Threads(NamedTuple):
    """The threads of all gthread workers, and the connections that wait for one."""

    idle: int
    working: int
    queued: int


class Crew(NamedTuple):
    """How many workers are in which state, and the requests that they are serving.

    ``unknown`` are alive, but what they do can't be seen; ``in_flight`` is None if there is one.
    ``threads`` is None without gthread workers. ``saturated`` says whether no worker and no thread
    is free; None: that can't be said, for some have no capacity.
    """

    idle: int
    working: int
    starting: int
    unknown: int
    in_flight: int | None
    threads: Threads | None = None
    saturated: bool | None = None

    @property
    def total(self) -> int:
        """All workers."""
        return self.idle + self.working + self.starting + self.unknown


class Roster:
    """Counts workers, and remembers since when those without a slot have had none."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._without_slot_since: dict[int, float] = {}
        self.overdue = 0

    def count(
        self,
        running: Mapping[int, int],
        states: States,
        boot_limit_s: float,
        *,
        watched_after: int = 0,
        kind_starting: Kind = Kind.UNKNOWN,
    ) -> Crew:
        """Count the ``running`` workers (age by pid).

        A worker that has had no slot for ``boot_limit_s`` seconds is not starting, but unknown; and
        so is one whose age is not above ``watched_after``: it came up when nobody watched.

        :param kind_starting: of those that are starting.
        """
        owners, seen, in_use = states.owners, states.owners.seen, states.columns.in_use
        expected = [pid for pid in owners.without_slot if running[pid] > watched_after]
        starting = self._starting(expected, boot_limit_s)
        working = sum(map(bool, in_use))
        unknown = len(running) - seen - starting
        if unknown:
            return Crew(seen - working, working, starting, unknown, in_flight=None)
        return Crew(
            seen - working,
            working,
            starting,
            unknown=0,
            in_flight=sum(states.columns.in_flight),
            threads=_threads(states, kind_starting),
            saturated=all(map(ge, in_use, owners.capacities))
            if are_bounded(owners, kind_starting)
            else None,
        )

    def _starting(self, without_slot: list[int], boot_limit_s: float) -> int:
        now = self._clock()
        since = self._without_slot_since
        self._without_slot_since = {pid: since.get(pid, now) for pid in without_slot}
        waited_s = [now - began for began in self._without_slot_since.values()]
        self.overdue = sum(1 for wait_s in waited_s if wait_s > boot_limit_s)
        return len(without_slot) - self.overdue


def are_bounded(owners: Owners, kind_starting: Kind) -> bool:
    """Tell whether each of these workers has a capacity, and those that are starting will."""
    return kind_starting in BOUNDED and all(owners.capacities)


def _threads(states: States, kind_starting: Kind) -> Threads | None:
    pools = states.owners.places.get(POOL)
    if pools is None:
        return Threads(0, 0, 0) if kind_starting == POOL else None
    in_use = states.columns.in_use[pools]
    free = map(sub, states.owners.capacities[pools], in_use)
    idle = sum(it for it in free if it > 0)
    return Threads(idle, sum(in_use), sum(states.columns.queued[pools]))
