"""The last minute of each listener's accept queue, for a sparkline."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from gunicorn_backlog.cli.inspect.snapshot import Snapshot

MINUTE_S = 60.0


class History:
    """The maximum length of each listener's queue in each snapshot, for a minute."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lengths: deque[tuple[float, dict[str, int]]] = deque()  # by time and listener

    def add(self, snapshot: Snapshot) -> None:
        """Add a snapshot that was taken just now."""
        now_s = self._clock()
        read = [listener for listener in snapshot.listeners if listener.lengths]
        lengths = {listener.latest.listener: max(listener.lengths) for listener in read}
        self._lengths.append((now_s, lengths))
        while self._lengths[0][0] <= now_s - MINUTE_S:
            self._lengths.popleft()

    def frozen(self) -> History:
        """Return a copy whose last minute ends now and stays the same."""
        now_s = self._clock()
        copy = History(clock=lambda: now_s)
        copy._lengths = self._lengths.copy()
        return copy

    def last_minute(self, listener: str, parts: int) -> Sequence[int | None]:
        """Return the maximum length in each of ``parts`` parts of the minute, the latest last.

        None is a part without a snapshot.
        """
        now_s = self._clock()
        found: list[int | None] = [None] * parts
        for at_s, lengths in self._lengths:
            part = parts - 1 - int((now_s - at_s) / MINUTE_S * parts)
            if part >= 0 and listener in lengths:
                found[part] = max(lengths[listener], found[part] or 0)
        return found
