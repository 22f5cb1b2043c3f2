"""Samples of listeners over some time, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gunicorn_backlog.cli.inspect.listeners import ListenerReader, ListenerState
from gunicorn_backlog.sampling.drops import Drops
from gunicorn_backlog.scoreboard.server_info import ListenerRef


class Listener(NamedTuple):
    """The samples of one listener.

    ``lengths``: of the accept queue, one per sample. ``deepest``: the maximum of one socket, with
    ``reuse_port``. ``dropped``: drops since the former snapshot; None if they cannot be read.
    ``latest``: the last reading.
    """

    lengths: tuple[int, ...]
    deepest: int | None
    dropped: int | None
    latest: ListenerState

    @property
    def dropped_ever(self) -> int | None:
        """Drops since the listener's sockets were created; None if they cannot be read."""
        return None if self.latest.drops is None else sum(self.latest.drops.values())


class ListenerSamples:
    """Reads the listeners of one server: ``sample``, then ``close``, repeatedly."""

    def __init__(self, pid: int) -> None:
        self._reader = ListenerReader(pid)
        self._drops: dict[str, Drops] = {}  # by listener, as are the states
        self._states: dict[str, list[ListenerState]] = {}

    def sample(self, listeners: Sequence[ListenerRef]) -> None:
        """Read each listener once."""
        for state in self._reader.read(listeners):
            self._states.setdefault(state.listener, []).append(state)

    def close(self) -> tuple[Listener, ...]:
        """Return the listeners of all samples since the former call."""
        states, self._states = self._states, {}
        return tuple(map(self._summary, states.values()))

    def _summary(self, states: list[ListenerState]) -> Listener:
        latest = states[-1]
        drops = self._drops.setdefault(latest.listener, Drops())
        for state in states:
            if state.drops is not None:
                drops.add(state.drops)
        longest = [state.max_length for state in states if state.max_length is not None]
        return Listener(
            lengths=tuple(state.length for state in states if state.length is not None),
            deepest=max(longest, default=None),
            dropped=drops.take() if drops.begun and latest.drops is not None else None,
            latest=latest,
        )
