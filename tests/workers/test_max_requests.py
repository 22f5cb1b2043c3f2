"""The mark of a worker that has served max_requests."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import RECYCLED, Slot
from gunicorn_backlog.workers.max_requests import MaxRequests, note_max_requests


def claim(scoreboard: Scoreboard) -> Slot:
    """Allocate a slot."""
    return scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)


def leaving(scoreboard: Scoreboard) -> int:
    """Return ``leaving`` of the only slot."""
    (slot,) = scoreboard.reader.claimed()
    return slot.leaving


@dataclass
class Worker:
    """A worker that has counted ``nr`` requests when its ``run`` raises or returns."""

    nr: int
    max_requests: int = 5
    raises: bool = False

    def run(self) -> None:
        """Return or raise."""
        if self.raises:
            raise SystemExit(0)


@pytest.mark.parametrize(("nr", "expected"), [(4, 0), (5, RECYCLED), (9, RECYCLED)])
@pytest.mark.parametrize("raises", [False, True])
def test_gunicorns_count_at_the_end(nr: int, expected: int, raises: bool) -> None:
    """The count decides when ``run`` ends, also by an exception."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    worker = Worker(nr, raises=raises)
    note_max_requests(worker, claim(scoreboard))
    try:
        worker.run()
    except SystemExit:
        assert raises
    assert leaving(scoreboard) == expected


def test_a_limit_that_a_server_compares() -> None:
    """Both forms of a comparison record that the limit was reached, also after a jitter."""
    for compare, below, reached in ((operator.ge, 7, 8), (operator.gt, 8, 9)):
        scoreboard = Scoreboard(slots=1, thread_rows=0)
        limit = MaxRequests.of(5, claim(scoreboard)) + 3
        assert (limit, f"{limit}") == (8, "8")
        assert not compare(below, limit)
        assert leaving(scoreboard) == 0
        assert compare(reached, limit)
        assert leaving(scoreboard) == RECYCLED
