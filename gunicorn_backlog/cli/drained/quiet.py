"""When a server is drained: a pure function of its readings."""

from __future__ import annotations

from collections import deque

from gunicorn_backlog.cli.drained.reading import Reading


class Quiet:
    """Decides after each reading whether the server is drained.

    The server is drained if it was empty at least ``quiet_s`` ago, has begun at most ``allow``
    requests since then, and had at most ``allow`` requests in each reading since then. With
    ``allow`` 0 it was empty all the time. A request longer than the period is therefore never
    allowed: the server was not empty before.
    """

    def __init__(self, quiet_s: float, allow: int) -> None:
        self._quiet_s = quiet_s
        self._allow = allow
        # The latest empty reading that is old enough, and all since then; without too many requests
        self._calm: deque[Reading] = deque()
        self._recent: deque[Reading] = deque()  # of the quiet period, for ``arrived``

    def add(self, reading: Reading) -> bool:
        """Add a reading; return whether the server is drained."""
        self._recent.append(reading)
        while len(self._recent) > 2 and reading.at_s - self._recent[1].at_s >= self._quiet_s:
            self._recent.popleft()
        if reading.unknown or reading.present > self._allow:
            self._calm.clear()
            return False
        self._calm.append(reading)
        self._start_at_the_latest_empty(reading.at_s - self._quiet_s)
        first = self._calm[0] if self._calm else None
        if first is None or reading.at_s - first.at_s < self._quiet_s:
            return False
        return reading.begun - first.begun <= self._allow

    def _start_at_the_latest_empty(self, before_s: float) -> None:
        """Drop what comes before the latest empty reading that is older than ``before_s``."""
        while self._calm and self._calm[0].present:
            self._calm.popleft()
        starts = [
            number
            for number, reading in enumerate(self._calm)
            if reading.at_s <= before_s and not reading.present
        ]
        for _ in range(starts[-1] if starts else 0):
            self._calm.popleft()

    @property
    def arrived(self) -> int:
        """Number of requests that began in the latest quiet period."""
        return self._recent[-1].begun - self._recent[0].begun if self._recent else 0
