"""The use of thread pools behind event loops, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping

from gunicorn_backlog.cli.advise.measured import PoolUse
from gunicorn_backlog.scoreboard.loop_row import PoolState
from gunicorn_backlog.scoreboard.worker_row import WorkerRow


class Pools:
    """Collects samples of all workers' pools."""

    def __init__(self) -> None:
        self._samples = 0
        self._states: dict[str, list[list[PoolState]]] = {}  # by name, of each sample

    def add(self, rows: Mapping[int, WorkerRow]) -> None:
        """Add a sample."""
        self._samples += 1
        seen: dict[str, list[PoolState]] = {}
        for row in rows.values():
            for name, state in row.loop.pools if row.loop is not None else ():
                seen.setdefault(name, []).append(state)
        for name, states in seen.items():
            self._states.setdefault(name, []).append(states)

    def use(self) -> dict[str, PoolUse]:
        """Return the use of each pool that a worker has used."""
        return {name: self._use(samples) for name, samples in self._states.items()}

    def _use(self, samples: list[list[PoolState]]) -> PoolUse:
        full = sum(any(state.idle == 0 for state in states) for states in samples)
        queued = sum(any(state.queued for state in states) for states in samples)
        capacities = [state.capacity for state in samples[-1]]
        return PoolUse(
            full / self._samples,
            queued / self._samples,
            max(sum(state.working for state in states) for states in samples),
            max(sum(state.queued for state in states) for states in samples),
            None if None in capacities else sum(number or 0 for number in capacities),
        )
