"""Time worked of the time there was: what workers' slots say between one look and the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gunicorn_backlog.slot import State


class WorkTime(NamedTuple):
    """Nanoseconds of all workers or threads together."""

    worked_ns: int
    available_ns: int


class Utilization:
    """Takes the difference of two looks; a worker's time is available from its claim on."""

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._looked_ns = clock_ns()
        self._before: Mapping[int, State] = {}

    def look(self, states: Mapping[int, State]) -> WorkTime:
        """Return what was worked since the last look, or since the first began.

        The states, by pid, have just been read. A worker that died since is left out with all that
        it did; one that was there at the last look, and could not be seen, begins now.
        """
        before, looked_ns = self._before, self._looked_ns
        self._before, self._looked_ns = states, self._clock_ns()
        worked_ns = available_ns = 0
        for pid, state in states.items():
            former = before.get(pid)
            if former is not None and former.claimed_ns == state.claimed_ns:
                since_ns = looked_ns
                worked_ns -= former.worked_ns + former.timed * looked_ns
            elif state.claimed_ns >= looked_ns:
                since_ns = state.claimed_ns
            else:
                continue
            worked_ns += state.worked_ns + state.timed * self._looked_ns
            available_ns += state.capacity * (self._looked_ns - since_ns)
        return WorkTime(worked_ns, available_ns)
