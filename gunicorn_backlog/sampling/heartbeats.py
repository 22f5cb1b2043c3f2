"""The age of the oldest heartbeat, by which gunicorn detects workers that hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gunicorn_backlog import _gunicorn

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter


READ_EVERY = 0.02  # of the timeout


class Heartbeats:
    """The greatest age of a heartbeat since the last ``take``.

    An age costs a system call. The ages are read once per interval, and by a sample each READ_EVERY
    of the timeout: the greatest age may be missed by as much, or by the distance of two samples.
    """

    def __init__(self, arbiter: Arbiter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._arbiter = arbiter
        self._clock = clock
        self._oldest_s: float | None = None
        self._due_s = 0.0

    def sample(self) -> None:
        """Read the ages if a reading is due."""
        if self._clock() >= self._due_s:
            self._read()

    def take(self) -> float | None:
        """Return the age in percent of gunicorn's ``timeout``; None: no timeout, or no worker."""
        self._read()
        oldest_s, self._oldest_s = self._oldest_s, None
        timeout_s = self._arbiter.cfg.timeout
        return round(100 * oldest_s / timeout_s, 1) if timeout_s and oldest_s is not None else None

    def _read(self) -> None:
        timeout_s = self._arbiter.cfg.timeout
        self._due_s = self._clock() + READ_EVERY * timeout_s
        if not timeout_s:
            return
        for worker in list(self._arbiter.WORKERS.values()):
            with suppress(OSError, ValueError):  # the worker was reaped
                age_s = _gunicorn.heartbeat_age_s(worker)
                if age_s is not None:
                    self._oldest_s = max(self._oldest_s or 0.0, age_s)
