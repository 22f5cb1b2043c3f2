"""The arbiter's workers by state, from what their slots say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gunicorn_backlog.scoreboard import Kind, State


class Crew(NamedTuple):
    """How many workers are in which state, and the requests that they are serving.

    ``unknown`` are alive, but what they do can't be seen; ``in_flight`` is None if there is one.
    """

    idle: int
    working: int
    starting: int
    unknown: int
    in_flight: int | None

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
        states: Mapping[int, State | None],
        boot_limit_s: float,
        watched_after: int = 0,
    ) -> Crew | None:
        """Count the ``running`` workers (age by pid); None if a slot could not be read this time.

        A worker that has had no slot for ``boot_limit_s`` seconds is not starting, but unknown; and
        so is one whose age is not above ``watched_after``: it came up when nobody watched.
        """
        without_slot = [pid for pid in running if pid not in states]
        expected = [pid for pid in without_slot if running[pid] > watched_after]
        starting = self._starting(expected, boot_limit_s)
        if None in states.values():
            return None
        known = [state for state in states.values() if state is not None]
        seen = [state for state in known if state.kind != Kind.UNKNOWN]
        working = sum(1 for state in seen if state.in_use)
        unknown = len(known) - len(seen) + self.overdue + len(without_slot) - len(expected)
        in_flight = None if unknown else sum(state.in_use for state in seen)
        return Crew(len(seen) - working, working, starting, unknown, in_flight)

    def _starting(self, without_slot: list[int], boot_limit_s: float) -> int:
        now = self._clock()
        since = self._without_slot_since
        self._without_slot_since = {pid: since.get(pid, now) for pid in without_slot}
        waited_s = [now - began for began in self._without_slot_since.values()]
        self.overdue = sum(1 for wait_s in waited_s if wait_s > boot_limit_s)
        return len(without_slot) - self.overdue
