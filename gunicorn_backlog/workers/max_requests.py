"""Record that a worker exits because it has served ``max_requests``."""

from __future__ import annotations

import sys
from typing import Any

from gunicorn_backlog.scoreboard.slot import Slot


def note_max_requests(worker: Any, slot: Slot) -> None:
    """Compare gunicorn's count of requests with the limit when ``run`` ends.

    gunicorn's classes count in ``nr``. Not on the hot path: the count never decreases.
    """
    run = worker.run

    def run_and_note() -> None:
        try:
            run()
        finally:
            if getattr(worker, "nr", 0) >= getattr(worker, "max_requests", sys.maxsize):
                slot.note_recycled()

    worker.run = run_and_note


class MaxRequests(int):
    """A limit that records in a slot when a server compares a number at or above it.

    For servers with a count of their own. Python calls the methods of a subclass first, also for
    ``number >= limit``. uvicorn compares ten times per second, and may add a jitter before.
    """

    slot: Slot

    @classmethod
    def of(cls, limit: int, slot: Slot) -> MaxRequests:
        """Return the limit with a slot to record in."""
        made = cls(limit)
        made.slot = slot
        return made

    def __add__(self, number: int) -> MaxRequests:
        """Return the sum as a limit."""
        return MaxRequests.of(int(self) + number, self.slot)

    def __le__(self, number: int) -> bool:
        """Return whether the number has reached the limit, and record this."""
        return self._noted(reached=int(self) <= number)

    def __lt__(self, number: int) -> bool:
        """Return whether the number is above the limit, and record this."""
        return self._noted(reached=int(self) < number)

    def _noted(self, *, reached: bool) -> bool:
        if reached:
            self.slot.note_recycled()
        return reached
