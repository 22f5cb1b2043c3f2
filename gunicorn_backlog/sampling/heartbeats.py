"""The age of the oldest heartbeat, by which gunicorn detects workers that hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gunicorn_backlog import _gunicorn

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter


class Heartbeats:
    """The greatest age of a heartbeat since the last ``take``.

    The age costs a system call. A worker is read if its age may exceed the greatest one: as a rule
    each worker once per interval, and in each sample the worker with the oldest heartbeat.
    """

    def __init__(self, arbiter: Arbiter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._arbiter = arbiter
        self._clock = clock
        self._beats_s: dict[int, float] = {}  # latest known, by the worker's age
        self._oldest_s: float | None = None

    def sample(self) -> None:
        """Read the heartbeats that may be older than the oldest one of the interval."""
        beats_s, now_s = {}, self._clock()
        for worker in list(self._arbiter.WORKERS.values()):
            beat_s = self._beats_s.get(worker.age)
            if beat_s is None or self._oldest_s is None or now_s - beat_s > self._oldest_s:
                age_s = None
                with suppress(OSError, ValueError):  # the worker was reaped
                    age_s = _gunicorn.heartbeat_age_s(worker)
                if age_s is None:
                    continue
                beat_s = now_s - age_s
                self._oldest_s = max(self._oldest_s or 0.0, age_s)
            beats_s[worker.age] = beat_s
        self._beats_s = beats_s

    def take(self) -> float | None:
        """Return the age in percent of gunicorn's ``timeout``; None: no timeout, or no worker."""
        oldest_s, self._oldest_s = self._oldest_s, None
        timeout_s = self._arbiter.cfg.timeout
        return round(100 * oldest_s / timeout_s, 1) if timeout_s and oldest_s is not None else None
