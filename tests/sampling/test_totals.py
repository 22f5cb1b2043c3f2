"""totals: counters that a worker overwrote are absent, with one log line each."""

from __future__ import annotations

import logging
import os

import pytest

from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.totals import Totals
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import Slot

BEGUN = 3  # the index of this word in a slot
IMPOSSIBLE = 1 << 40


@pytest.fixture
def scoreboard() -> Scoreboard:
    """A scoreboard with one slot."""
    return Scoreboard(slots=1, thread_rows=0)


@pytest.fixture
def slot(scoreboard: Scoreboard) -> Slot:
    """The slot of an event loop."""
    return scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)


def test_overwritten_counters(
    scoreboard: Scoreboard, slot: Slot, caplog: pytest.LogCaptureFixture
) -> None:
    """An impossible growth is no number; the next difference counts from there."""
    totals = Totals(scoreboard.reader, OnceLogger(logging.getLogger("lab")))
    rows = scoreboard.reader.read({os.getpid(): 1}).by_pid

    for _ in range(2):
        slot.words[BEGUN] += IMPOSSIBLE
        slot.delays[0] += IMPOSSIBLE
        assert totals.begun() is None
        assert totals.delays(rows) is None
    slot.words[BEGUN] += 2
    assert totals.begun() == 2

    begun, delayed = [record.getMessage() for record in caplog.records]
    assert f"changed by {IMPOSSIBLE}: the requests begun in this interval are not sent" in begun
    assert f"changed by {IMPOSSIBLE}" in delayed
