"""The arbiter's workers by state, from what their slots say."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from gunicorn_backlog.slot import BOUNDED, UNSEEN, Kind, State


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
        states: Mapping[int, State],
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
        without_slot = [pid for pid in running if pid not in states]
        expected = [pid for pid in without_slot if running[pid] > watched_after]
        starting = self._starting(expected, boot_limit_s)
        seen = [state for state in states.values() if state.kind not in UNSEEN]
        working = sum(1 for state in seen if state.in_use)
        unknown = len(running) - len(seen) - starting
        return Crew(
            len(seen) - working,
            working,
            starting,
            unknown,
            in_flight=None if unknown else sum(state.in_flight for state in seen),
            threads=None if unknown else _threads(seen, kind_starting),
            saturated=None if unknown else _saturated(seen, kind_starting),
        )

    def _starting(self, without_slot: list[int], boot_limit_s: float) -> int:
        now = self._clock()
        since = self._without_slot_since
        self._without_slot_since = {pid: since.get(pid, now) for pid in without_slot}
        waited_s = [now - began for began in self._without_slot_since.values()]
        self.overdue = sum(1 for wait_s in waited_s if wait_s > boot_limit_s)
        return len(without_slot) - self.overdue


def are_bounded(states: Collection[State], kind_starting: Kind) -> bool:
    """Tell whether each of these workers has a capacity, and those that are starting will."""
    return kind_starting in BOUNDED and all(state.capacity for state in states)


def _saturated(seen: Collection[State], kind_starting: Kind) -> bool | None:
    if not are_bounded(seen, kind_starting):
        return None
    return all(state.in_use >= state.capacity for state in seen)


def _threads(seen: Collection[State], kind_starting: Kind) -> Threads | None:
    pools = [state for state in seen if state.kind == Kind.POOL]
    if not pools and kind_starting != Kind.POOL:
        return None
    working = sum(pool.in_use for pool in pools)
    idle = sum(max(0, pool.capacity - pool.in_use) for pool in pools)
    return Threads(idle, working, sum(pool.queued for pool in pools))
