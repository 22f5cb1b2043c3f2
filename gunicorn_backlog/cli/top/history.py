"""The last minute of each listener's queue, for a sparkline."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from gunicorn_backlog.cli.inspect.snapshot import Snapshot

MINUTE_S = 60.0


class History:
    """The greatest length of each listener's queue in each look, for a minute."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def add(self, look: Snapshot) -> None:
        """Take in what was seen just now."""
        now_s = self._clock()
        for listener in look.listeners:
            if listener.lengths:
                seen = self._seen.setdefault(listener.latest.listener, deque())
                seen.append((now_s, max(listener.lengths)))
        for seen in self._seen.values():
            while seen and seen[0][0] <= now_s - MINUTE_S:
                seen.popleft()

    def at_rest(self) -> History:
        """Return it as it is now, for as long as one likes: what is added later is not in it."""
        now_s = self._clock()
        still = History(clock=lambda: now_s)
        still._seen = {listener: seen.copy() for listener, seen in self._seen.items()}
        return still

    def of(self, listener: str, parts: int) -> Sequence[int | None]:
        """Return the greatest length in each of so many parts of the minute, the latest at last.

        None is a part in which nobody looked.
        """
        now_s = self._clock()
        found: list[int | None] = [None] * parts
        for at_s, length in self._seen.get(listener, ()):
            part = parts - 1 - int((now_s - at_s) / MINUTE_S * parts)
            if part >= 0:
                found[part] = max(length, found[part] or 0)
        return found
