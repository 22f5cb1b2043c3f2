"""Time worked of the time there was: what workers' slots say between one look and the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gunicorn_backlog.scoreboard.owners import Owners
from gunicorn_backlog.scoreboard.states import Columns, States


class WorkTime(NamedTuple):
    """Nanoseconds of all workers or threads together."""

    worked_ns: int
    available_ns: int


class Utilization:
    """Takes the difference of two looks; a worker's time is available from its claim on."""

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._looked_ns = clock_ns()
        self._before = States(Owners(), Columns())

    def look(self, states: States) -> WorkTime:
        """Return what was worked since the last look, or since the first began.

        The states have just been read. A worker that died since is left out with all that it did;
        one that was there at the last look, and could not be seen, begins now.
        """
        before, looked_ns = self._before, self._looked_ns
        self._before, self._looked_ns = states, self._clock_ns()
        elapsed_ns, owners = self._looked_ns - looked_ns, states.owners
        if states is before:  # nobody began or ended anything
            return WorkTime(
                sum(states.columns.timed_busy) * elapsed_ns, sum(owners.capacities) * elapsed_ns
            )
        if owners is before.owners:
            worked_ns = states.worked_by(self._looked_ns) - before.worked_by(looked_ns)
            return WorkTime(worked_ns, sum(owners.capacities) * elapsed_ns)
        return self._one_by_one(before, looked_ns)

    def _one_by_one(self, before: States, looked_ns: int) -> WorkTime:
        """Return the same when workers came or went."""
        formerly = dict(zip(_claims(before.owners), _works(before.columns), strict=True))
        owners, columns = self._before.owners, self._before.columns
        worked_ns = available_ns = 0
        for claim, work, capacity in zip(
            _claims(owners), _works(columns), owners.capacities, strict=True
        ):
            former, since_ns = formerly.get(claim), looked_ns
            if former is not None:
                worked_ns -= former[0] + former[1] * looked_ns
            elif claim[1] >= looked_ns:
                since_ns = claim[1]
            else:
                continue
            worked_ns += work[0] + work[1] * self._looked_ns
            available_ns += capacity * (self._looked_ns - since_ns)
        return WorkTime(worked_ns, available_ns)


def _claims(owners: Owners) -> Iterator[tuple[int, int]]:
    return zip(owners.pids, owners.claimed_ns, strict=True)


def _works(columns: Columns) -> Iterator[tuple[int, int]]:
    return zip(columns.worked_ns, columns.timed_busy, strict=True)
