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
        # The latest empty reading that is old enough (until then the first empty one), and all
        # since then; without too many requests.
        self._calm: list[Reading] = []
        self._recent: deque[Reading] = deque()  # of the quiet period, for ``arrived``

    def add(self, reading: Reading) -> bool:
        """Add a reading; return whether the server is drained."""
        self._recent.append(reading)
        while len(self._recent) > 2 and reading.at_s - self._recent[1].at_s >= self._quiet_s:
            self._recent.popleft()
        if reading.unknown or reading.present > self._allow:
            self._calm.clear()
            return False
        if self._calm or not reading.present:
            self._calm.append(reading)
        starts = [
            number
            for number, former in enumerate(self._calm)
            if not former.present and reading.at_s - former.at_s >= self._quiet_s
        ]
        if not starts:
            return False
        del self._calm[: starts[-1]]
        return reading.begun - self._calm[0].begun <= self._allow

    @property
    def arrived(self) -> int:
        """Number of requests that began in the latest quiet period."""
        return self._recent[-1].begun - self._recent[0].begun if self._recent else 0
